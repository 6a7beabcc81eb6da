"""The client: one method for each call of the API, each retried so that it counts once."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any, Dict, Iterable, List, Optional, Tuple, TypeVar, Union
from urllib.parse import quote

from .block import Block, Left
from .buffer import Buffer
from .errors import CounterdError
from .leases import Leases
from .model import BatchResult, Change, Counter, Counters, Operation, read
from .refusal import OnRefused
from .retry import SETTLED, Patience, RetryPolicy, Stats, judge, new_key
from .stream import Subscription
from .transport import Address, Answer, NoAnswer, Transport

Part = TypeVar("Part", Buffer, Leases, Subscription)


class Client(Block):
    """A client of one server, for any number of threads.

    Calls of different threads are counted in any order. What concerns one player needs one order: use one `buffer()` for
    it, or one thread that waits for each answer.
    """

    def __init__(
        self,
        url: str,
        token: Optional[str] = None,
        *,
        connections: int = 2,
        timeout: float = 10.0,
        tries: Optional[int] = 10,
        give_up_after: Optional[float] = 30.0,
        first_pause: float = 0.1,
        longest_pause: float = 5.0,
    ) -> None:
        """`url` is such as `http://127.0.0.1:8080`, `token` the one for writing or reading.

        A call is tried up to `tries` times within `give_up_after` seconds; one try may take `timeout` seconds. Between
        tries it waits a random time up to `first_pause`, twice that, and so on up to `longest_pause`, and no less than
        the server says in `Retry-After`.
        """
        self._address = Address(url)
        self._token = token
        self._timeout = timeout
        self._policy = RetryPolicy(tries, give_up_after, first_pause, longest_pause)
        self._transport = Transport(self._address, connections)
        self._lock = threading.Lock()
        self._stats = Stats()
        self._is_closed = False
        self._parts: List[Union[Buffer, Leases, Subscription]] = []

    # Counting

    def increment(
        self, name: str, value: int = 1, *, user_id: Optional[str] = None, key: Optional[str] = None
    ) -> Change:
        """Adds `value`, or counts `user_id`. `key` goes on with a call that may have counted: see `CounterdError`."""
        return self._count(Operation("increment", name, value, user_id), key)

    def decrement(
        self, name: str, value: int = 1, *, user_id: Optional[str] = None, key: Optional[str] = None
    ) -> Change:
        """Takes `value` away."""
        return self._count(Operation("decrement", name, value, user_id), key)

    def heartbeat(
        self,
        name: str,
        user_id: str,
        *,
        value: int = 1,
        session: Optional[str] = None,
        key: Optional[str] = None,
    ) -> Change:
        """Begins or renews a lease of a `presence` counter. `leases()` does so by itself."""
        return self._count(Operation("heartbeat", name, value, user_id, session), key)

    def leave(
        self, name: str, user_id: str, *, session: Optional[str] = None, key: Optional[str] = None
    ) -> Change:
        """Ends a lease."""
        return self._count(Operation("leave", name, 1, user_id, session), key)

    def batch(
        self, operations: Iterable[Operation], *, mode: str = "all", key: Optional[str] = None
    ) -> BatchResult:
        """Counts up to 1000 operations at once. With mode `all` it is all or none of them; with `each`, one that is
        refused does not keep the others from being counted."""
        return self._batch(list(operations), mode, key, self._patience())

    def _count(self, operation: Operation, key: Optional[str]) -> Change:
        path = f"/api/v1/counter/{quote(operation.name, safe=':')}/{operation.op}"
        answer = self._write(path, operation.body(), key, self._patience(), "current_value")
        return read(Change, answer)

    def _batch(
        self, operations: List[Operation], mode: str, key: Optional[str], patience: Patience
    ) -> BatchResult:
        body: Dict[str, Any] = {"operations": [operation.in_batch() for operation in operations]}
        if mode != "all":
            body["mode"] = mode
        return BatchResult.read(self._write("/api/v1/batch", body, key, patience, "results"))

    # Reading

    def get(self, name: str) -> Counter:
        """Reads one counter. One that nobody defined is an error (`unknown_counter`), never 0."""
        return read(Counter, self._read(f"/api/v1/counter/{quote(name, safe=':')}", "name"))

    def get_many(self, names: Iterable[str]) -> Counters:
        """Reads 1 to 10 counters as of one moment."""
        path = f"/api/v1/counters?names={quote(','.join(names), safe=':,')}"
        return Counters.read(self._read(path, "counters"))

    # What lasts

    def buffer(
        self,
        *,
        max_operations: int = 500,
        max_bytes: int = 256 * 1024,
        max_delay: float = 0.1,
        max_queued: int = 100_000,
        on_refused: Optional[OnRefused] = None,
    ) -> Buffer:
        """Gathers operations and sends them in batches, in their order: see `Buffer`."""
        return self._keep(
            Buffer(self, max_operations, max_bytes, max_delay, max_queued, on_refused)
        )

    def leases(
        self,
        name: str,
        *,
        every: float = 30.0,
        max_operations: int = 500,
        on_refused: Optional[OnRefused] = None,
    ) -> Leases:
        """Keeps leases of a `presence` counter alive: see `Leases`."""
        return self._keep(Leases(self, name, every, max_operations, on_refused))

    def subscribe(self, names: Iterable[str], *, patience: float = 40.0) -> Subscription:
        """Is told of changes of 1 to 100 counters: see `Subscription`."""
        return self._keep(
            Subscription(self._address, self._token, list(names), patience, self._policy, self._forget)
        )

    def stats(self) -> Stats:
        """What the tries came to until now."""
        with self._lock:
            return replace(self._stats)

    def close(self, timeout: float = 5.0) -> List[Left]:
        """Closes buffers (which send what they have), leases (which leave) and subscriptions, within `timeout` seconds
        in all. Returns what could not be sent: one `Left` for each that has something left, since each batch has a key of its
        own."""
        with self._lock:
            self._is_closed = True
            parts, self._parts = self._parts, []
        patience = Patience(None, timeout)
        left: List[Left] = []
        for part in parts:
            if isinstance(part, Subscription):
                part.close()
            else:
                one = part.close(max(patience.left() or 0, 0))
                if len(one):
                    left.append(one)
        self._transport.close()
        return left

    # How

    def _keep(self, part: Part) -> Part:
        with self._lock:
            is_closed = self._is_closed
            if not is_closed:
                self._parts.append(part)
        if is_closed:
            part.close()
            raise CounterdError("closed", "the client is closed")
        return part

    def _forget(self, part: Any) -> None:
        with self._lock:
            if part in self._parts:
                self._parts.remove(part)

    def _patience(self) -> Patience:
        return Patience(self._policy.tries, self._policy.give_up_after)

    def _read(self, path: str, wanted: str) -> Dict[str, Any]:
        return self._call("GET", path, None, None, self._patience(), wanted)

    def _write(
        self,
        path: str,
        body: Dict[str, Any],
        key: Optional[str],
        patience: Patience,
        wanted: str,
    ) -> Dict[str, Any]:
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return self._call("POST", path, content, key or new_key(), patience, wanted)

    def _call(
        self,
        method: str,
        path: str,
        content: Optional[bytes],
        key: Optional[str],
        patience: Patience,
        wanted: str,
    ) -> Dict[str, Any]:
        """Tries until there is an answer that ends it; a good one has the member `wanted`."""
        headers = {"Accept": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if content is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        tries, maybe_counted, is_fresh = 0, False, False
        while True:
            tries += 1
            error, was_kept = self._try(
                method, path, headers, content, patience, tries, wanted
            )
            if isinstance(error, dict):
                return error
            is_write = key is not None
            error.key = key
            if error.code in SETTLED:
                maybe_counted = False
            else:
                maybe_counted = is_write and (maybe_counted or error.maybe_counted)
            error.maybe_counted = maybe_counted
            if error.is_final or (patience.tries is not None and tries >= patience.tries):
                raise error
            if was_kept and not is_fresh:
                # A connection that had rested too long: at once on a new one, but only once.
                is_fresh = True
                continue
            if not patience.wait(error.retry_after or 0.0, self._policy.jitter(tries)):
                raise error

    def _try(
        self,
        method: str,
        path: str,
        headers: Dict[str, str],
        content: Optional[bytes],
        patience: Patience,
        tries: int,
        wanted: str,
    ) -> Tuple[Union[Dict[str, Any], CounterdError], bool]:
        """What one try came to, and whether only its connection was too old."""
        try:
            answer = self._transport.try_once(
                method, path, headers, content, patience.timeout(self._timeout)
            )
        except NoAnswer as none:
            self._note(tries, None, none.was_sent, "")
            error = CounterdError("no_answer", str(none), is_final=False)
            error.maybe_counted = none.was_sent
            return error, none.was_kept
        except CounterdError as closed:
            return closed, False
        body, refusal = judge(answer, wanted)
        lost = (
            refusal is not None and refusal.maybe_counted and refusal.code != "outcome_unknown"
        )
        self._note(tries, answer, lost, refusal.code if refusal else "")
        if refusal is not None:
            return refusal, False
        assert body is not None
        return body, False

    def _note(self, tries: int, answer: Optional[Answer], is_lost: bool, code: str) -> None:
        with self._lock:
            stats = self._stats
            stats.requests += 1
            stats.retries += tries > 1
            stats.lost_answers += is_lost
            stats.outcome_unknown += code == "outcome_unknown"
            if answer is not None:
                stats.limited += answer.status == 429
                stats.unavailable += answer.status == 503
                stats.replayed += answer.headers.get("idempotency-replayed") == "true"

