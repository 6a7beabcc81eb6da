"""Operations that are gathered and sent in batches, in their order."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Deque, List, NamedTuple, Optional

from .block import Block, Left
from .errors import CounterdError
from .model import Operation, Refused
from .refusal import LARGEST_BATCH, OnRefused, tell_refused
from .retry import Patience, new_key

if TYPE_CHECKING:
    from .client import Client

log = logging.getLogger("counterd")

KEY_LASTS = 23 * 3600.0
"""Seconds. The server keeps a key for 24 hours at least; a batch is not sent again when it is older than this."""


class Queued(NamedTuple):
    """An operation that waits, with the size of its JSON and the time at which it was added."""

    operation: Operation
    size: int
    added: float


class Buffer(Block):
    """Gathers operations and sends them from a thread of its own.

    They are sent in the order in which they were added, with one batch in flight; so one buffer keeps one order for each
    player. A batch goes out when the oldest operation has waited `max_delay` seconds, or when `max_operations` or
    `max_bytes` are there. It is tried until it is answered, with the same key; meanwhile operations queue up, and when
    there are `max_queued`, `add` raises `buffer_full`.

    Batches have mode `each`: an operation that is refused is given to `on_refused`, with the error, and the others are
    counted. `on_refused` is called in the buffer's thread; without one, refusals are logged, and `refused` counts them
    either way.
    """

    def __init__(
        self,
        client: "Client",
        max_operations: int,
        max_bytes: int,
        max_delay: float,
        max_queued: int,
        on_refused: Optional[OnRefused],
    ) -> None:
        if not 1 <= max_operations <= LARGEST_BATCH:
            raise ValueError(f"max_operations is 1 to {LARGEST_BATCH}")
        self._client = client
        self._max_operations = max_operations
        self._max_bytes = max_bytes
        self._max_delay = max_delay
        self._max_queued = max_queued
        self._on_refused = on_refused
        self.refused = 0
        """How many operations were refused until now."""
        self._changed = threading.Condition()
        self._queue: Deque[Queued] = deque()
        self._queued_bytes = 0
        self._in_flight: List[Queued] = []
        self._key = ""
        self._patience = Patience(None, None)
        # Whether the batch in flight was given up and may have been counted.
        self._is_unknown = False
        self._added = 0
        self._done = 0
        self._flush_to = 0
        self._is_closing = False
        self._ends_at: Optional[float] = None
        # Whether `close` has said what is left: then nothing is sent again.
        self._is_left = False
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="counterd-buffer", daemon=True)
        self._thread.start()

    def increment(self, name: str, value: int = 1, *, user_id: Optional[str] = None) -> None:
        """Adds an increment."""
        self.add(Operation("increment", name, value, user_id))

    def decrement(self, name: str, value: int = 1, *, user_id: Optional[str] = None) -> None:
        """Adds a decrement."""
        self.add(Operation("decrement", name, value, user_id))

    def heartbeat(
        self, name: str, user_id: str, *, value: int = 1, session: Optional[str] = None
    ) -> None:
        """Adds a heartbeat."""
        self.add(Operation("heartbeat", name, value, user_id, session))

    def leave(self, name: str, user_id: str, *, session: Optional[str] = None) -> None:
        """Adds a leave."""
        self.add(Operation("leave", name, 1, user_id, session))

    def add(self, operation: Operation) -> None:
        """Takes an operation, or raises `buffer_full` or `closed`; waits for nothing."""
        text = json.dumps(operation.in_batch(), ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode()) + 1
        with self._changed:
            if self._is_closing or self._has_ended:
                raise CounterdError("closed", "the buffer is closed, or its thread failed")
            if len(self._queue) + len(self._in_flight) >= self._max_queued:
                raise CounterdError("buffer_full", f"{self._max_queued} operations wait already")
            self._queue.append(Queued(operation, size, time.monotonic()))
            self._queued_bytes += size
            self._added += 1
            # The thread waits for the first one, and then for a whole batch.
            if len(self._queue) == 1 or self._is_due(time.monotonic()):
                self._changed.notify_all()

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Sends what was added until now, and waits until it is answered. False when `timeout` seconds pass first; the
        buffer then goes on by itself."""
        with self._changed:
            upto = self._added
            self._flush_to = max(self._flush_to, upto)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._done >= upto or self._has_ended, timeout)
            return self._done >= upto

    def close(self, timeout: float = 5.0) -> Left:
        """Sends what is there, for at most `timeout` seconds, and takes nothing more. Returns what could not be sent."""
        with self._changed:
            self._is_closing = True
            self._ends_at = time.monotonic() + timeout
            self._patience.shorten(timeout)
            self._changed.notify_all()
            # A little longer than the last try may take.
            self._changed.wait_for(lambda: self._has_ended, timeout + 2 * Patience.SHORTEST)
            # What is under way even now may be counted or not.
            is_unknown = bool(self._in_flight) and (self._is_unknown or not self._has_ended)
            in_flight = [queued.operation for queued in self._in_flight]
            queued = [queued.operation for queued in self._queue]
            self._in_flight = []
            self._queue.clear()
            self._is_left = True
        self._client._forget(self)
        if is_unknown:
            return Left(queued, in_flight, self._key)
        return Left(in_flight + queued)

    # The thread

    def _is_due(self, now: float) -> bool:
        return (
            self._is_closing
            or self._flush_to > self._done
            or len(self._queue) >= self._max_operations
            or self._queued_bytes >= self._max_bytes
            or (bool(self._queue) and now - self._queue[0].added >= self._max_delay)
        )

    def _run(self) -> None:
        try:
            while self._next() and self._send():
                pass
        except Exception:
            log.exception("the buffer's thread failed")
            # Nobody knows how far it came.
            self._is_unknown = True
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _next(self) -> bool:
        """Waits for a batch that is due and puts it in flight; false at the end."""
        with self._changed:
            while not self._queue:
                if self._is_closing:
                    return False
                self._changed.wait()
            while not self._is_due(time.monotonic()):
                self._changed.wait(self._queue[0].added + self._max_delay - time.monotonic())
            if not self._queue:
                # Closed meanwhile, and out of time.
                return False
            batch: List[Queued] = []
            size = 0
            while self._queue and len(batch) < self._max_operations:
                if batch and size + self._queue[0].size > self._max_bytes:
                    break
                queued = self._queue.popleft()
                self._queued_bytes -= queued.size
                size += queued.size
                batch.append(queued)
            self._in_flight, self._is_unknown, self._key = batch, False, new_key()
            self._patience = Patience(None, KEY_LASTS)
            if self._ends_at is not None:
                self._patience.shorten(self._ends_at - time.monotonic())
            return True

    def _send(self) -> bool:
        """Until the batch in flight is answered; false when the buffer's time is over first."""
        with self._changed:
            batch, key, patience = self._in_flight, self._key, self._patience
        operations = [queued.operation for queued in batch]
        try:
            result = self._client._batch(operations, "each", key, patience)
        except CounterdError as error:
            return self._settle(batch, error)
        for operation, one in zip(operations, result.results):
            if isinstance(one, Refused):
                refusal = CounterdError(one.code, one.detail, fields=one.fields)
                refusal.key = key
                self._refuse(operation, refusal)
        self._end(len(batch), [])
        return True

    def _settle(self, batch: List[Queued], error: CounterdError) -> bool:
        """After an answer that refuses the batch as a whole, or none."""
        index = error.fields.get("index")
        if error.code == "closed" or not error.is_final:
            with self._changed:
                if error.code == "closed" or self._ends_at is not None:
                    self._is_unknown = error.maybe_counted
                    return False
            # The key is too old.
            refused, again = (batch, []) if error.maybe_counted else ([], batch)
        elif error.maybe_counted:
            # This try counted nothing, but one before may have: nothing of it goes out with a new key.
            refused, again = batch, []
        elif isinstance(index, int) and 0 <= index < len(batch):
            # One is malformed, and nothing was counted.
            refused, again = [batch[index]], batch[:index] + batch[index + 1 :]
        elif error.code == "body_too_large" and len(batch) > 1:
            refused, again = [], batch
            self._max_bytes = max(1, sum(queued.size for queued in batch) // 2)
        else:
            refused, again = batch, []
        for queued in refused:
            self._refuse(queued.operation, error)
        self._end(len(refused), again)
        return True

    def _end(self, count: int, again: List[Queued]) -> None:
        """So many are answered, and these are to be sent again, with a new key."""
        with self._changed:
            self._in_flight = []
            self._done += count
            if not self._is_left:
                self._queue.extendleft(reversed(again))
                self._queued_bytes += sum(queued.size for queued in again)
            self._changed.notify_all()

    def _refuse(self, operation: Operation, error: CounterdError) -> None:
        self.refused += 1
        tell_refused(self._on_refused, operation, error)

