"""Leases of a `presence` counter that are kept alive by a timer."""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Dict, List, Optional

from .block import Block, Left
from .errors import CounterdError
from .model import Operation, Refused
from .refusal import LARGEST_BATCH, OnRefused, tell_refused
from .retry import Patience, new_key

if TYPE_CHECKING:
    from .client import Client

log = logging.getLogger("counterd")


@dataclass
class Lease:
    """One that is held."""

    heartbeat: Operation
    due: float
    is_new: bool = True
    is_answered: bool = False


class Leases(Block):
    """Sends a heartbeat for each user that is held, every `every` seconds, from a thread of its own.

    Choose `every` as a third of the counter's `ttl`. The first heartbeat goes out at once, the second after a random
    part of `every`, so that users who came together are spread. Heartbeats that are due together go in one batch.
    A heartbeat that is refused is given to `on_refused` and tried again when it is due.
    """

    def __init__(
        self,
        client: "Client",
        name: str,
        every: float,
        max_operations: int,
        on_refused: Optional[OnRefused],
    ) -> None:
        if not 1 <= max_operations <= LARGEST_BATCH:
            raise ValueError(f"max_operations is 1 to {LARGEST_BATCH}")
        if every <= 0:
            raise ValueError("every is more than 0")
        self._client = client
        self._name = name
        self._every = every
        self._max_operations = max_operations
        self._on_refused = on_refused
        self._changed = threading.Condition()
        self._held: Dict[str, Lease] = {}
        self._leaving: List[Operation] = []
        self._is_closing = False
        self._ends_at: Optional[float] = None
        self._patience = Patience(None, None)
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="counterd-leases", daemon=True)
        self._thread.start()

    def keep_alive(self, user_id: str, value: int = 1, *, session: Optional[str] = None) -> None:
        """Holds the lease of a user from now on. Once more for the same user: the new `value` and `session` count."""
        heartbeat = Operation("heartbeat", self._name, value, user_id, session)
        with self._changed:
            if self._is_closing or self._has_ended:
                raise CounterdError("closed", "the leases are closed, or their thread failed")
            self._held[user_id] = Lease(heartbeat, time.monotonic())
            self._changed.notify_all()

    def leave(self, user_id: str) -> None:
        """Ends the lease of a user who is held."""
        with self._changed:
            self._let_go(user_id)
            self._changed.notify_all()

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Waits until each lease that is held had an answer, and each leave. False when `timeout` seconds pass first."""

        def is_done() -> bool:
            return not self._leaving and all(lease.is_answered for lease in self._held.values())

        with self._changed:
            self._changed.wait_for(lambda: is_done() or self._has_ended, timeout)
            return is_done()

    def close(self, timeout: float = 5.0) -> Left:
        """Ends all leases, for at most `timeout` seconds. Returns the leaves that could not be sent; those leases end by
        themselves."""
        with self._changed:
            for user_id in list(self._held):
                self._let_go(user_id)
            self._is_closing = True
            self._ends_at = time.monotonic() + timeout
            self._patience.shorten(timeout)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._has_ended, timeout + 2 * Patience.SHORTEST)
            left, self._leaving = self._leaving, []
        self._client._forget(self)
        return Left(left)

    def _let_go(self, user_id: str) -> None:
        lease = self._held.pop(user_id, None)
        if lease is not None:
            session = lease.heartbeat.session
            self._leaving.append(Operation("leave", self._name, 1, user_id, session))

    # The thread

    def _run(self) -> None:
        try:
            while True:
                batch = self._next()
                if not batch or not self._send(batch):
                    break
        except Exception:
            log.exception("the leases' thread failed")
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _next(self) -> List[Operation]:
        """Waits until something is due; leaves come first. Empty at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                batch = self._leaving[: self._max_operations]
                if not batch and self._is_closing:
                    return []
                for lease in self._held.values():
                    if len(batch) == self._max_operations:
                        break
                    if lease.due <= now:
                        batch.append(lease.heartbeat)
                        part = random.random() if lease.is_new else 1.0
                        lease.due, lease.is_new = now + part * self._every, False
                if batch:
                    # What is not answered by then is due again.
                    self._patience = Patience(None, self._every)
                    if self._ends_at is not None:
                        self._patience.shorten(self._ends_at - now)
                    return batch
                due = [lease.due for lease in self._held.values()]
                self._changed.wait(min(due) - now if due else None)

    def _send(self, batch: List[Operation]) -> bool:
        """Sends it; false when the time of closing is over."""
        try:
            result = self._client._batch(batch, "each", new_key(), self._patience)
        except CounterdError as error:
            if error.is_final and error.code != "closed":
                self._refuse_all(batch, error)
                return True
            with self._changed:
                if error.code == "closed" or self._ends_at is not None:
                    return False
                for operation in batch:
                    lease = self._held.get(operation.user_id or "")
                    if lease is not None and lease.heartbeat is operation:
                        lease.due = time.monotonic()
                # `Retry-After` may be longer than the call was to be tried.
                pause = (error.retry_after or 0.0) + self._client._policy.jitter(1)
                self._changed.wait_for(lambda: self._is_closing, pause)
                return True
        self._note_answered(batch)
        for operation, one in zip(batch, result.results):
            if isinstance(one, Refused):
                tell_refused(self._on_refused, operation, CounterdError(one.code, one.detail, fields=one.fields))
        return True

    def _refuse_all(self, batch: List[Operation], error: CounterdError) -> None:
        index = error.fields.get("index")
        if isinstance(index, int) and 0 <= index < len(batch):
            # One is malformed: it is held no longer, and the others are due again.
            bad = batch[index]
            with self._changed:
                for operation in batch:
                    lease = self._held.get(operation.user_id or "")
                    if lease is None or lease.heartbeat is not operation:
                        continue
                    if operation is bad:
                        del self._held[operation.user_id or ""]
                    else:
                        lease.due = time.monotonic()
            batch = [bad]
        self._note_answered(batch)
        for operation in batch:
            tell_refused(self._on_refused, operation, error)

    def _note_answered(self, batch: List[Operation]) -> None:
        """Leaves of the batch are done, and heartbeats had an answer."""
        done = {id(operation) for operation in batch}
        with self._changed:
            self._leaving = [leave for leave in self._leaving if id(leave) not in done]
            for operation in batch:
                lease = self._held.get(operation.user_id or "")
                if lease is not None and lease.heartbeat is operation:
                    lease.is_answered = True
            self._changed.notify_all()
