"""What an answer means, and when a call is tried again. Nothing here sends anything."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any, Dict, Optional, Tuple

from .errors import CounterdError
from .transport import Answer

RETRIED = frozenset({408, 429, 503})
"""Statuses whose request is sent again: nothing of that try was counted, but for `outcome_unknown`."""

LOST = frozenset({502, 504})
"""Statuses of a proxy that did not get the server's answer."""

SETTLED = frozenset(
    {
        "above_maximum",
        "batch_refused",
        "below_minimum",
        "corrupt_record",
        "counter_deleted",
        "counter_expired",
        "idempotency_key_reused",
        "too_many_counters",
        "unknown_counter",
        "unreadable_user",
        "wrong_kind",
    }
)
"""Codes that are judged after the Idempotency-Key: who gets one knows that no earlier try of the call has counted."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long a call is tried."""

    tries: Optional[int] = 10
    give_up_after: Optional[float] = 30.0
    first_pause: float = 0.1
    longest_pause: float = 5.0

    def jitter(self, tries: int) -> float:
        """A random time, up to twice as long after each try."""
        bound = min(self.longest_pause, self.first_pause * 2 ** min(tries - 1, 30))
        return random.uniform(0, bound)


class Patience:
    """Until when a call is tried; another thread may shorten it."""

    SHORTEST = 0.05
    """Seconds. With less left there is no further try."""

    def __init__(self, tries: Optional[int], seconds: Optional[float]) -> None:
        self.tries = tries
        self._end = None if seconds is None else time.monotonic() + seconds
        self._changed = threading.Condition()

    def shorten(self, seconds: float) -> None:
        """At most so long from now on; wakes who waits."""
        with self._changed:
            end = time.monotonic() + seconds
            self._end = end if self._end is None else min(self._end, end)
            self._changed.notify_all()

    def left(self) -> Optional[float]:
        """Seconds; `None` without an end."""
        with self._changed:
            return None if self._end is None else self._end - time.monotonic()

    def timeout(self, timeout: float) -> float:
        """For one try."""
        left = self.left()
        return timeout if left is None else max(self.SHORTEST, min(timeout, left))

    def wait(self, retry_after: float, jitter: float) -> bool:
        """Waits that long. False at once when the end comes before `retry_after` is over; the jitter shrinks so that
        there is a last try."""
        begun = time.monotonic()
        earliest, due = begun + retry_after, begun + retry_after + jitter
        with self._changed:
            while True:
                now = time.monotonic()
                if self._end is not None:
                    if self._end - max(now, earliest) < self.SHORTEST:
                        return False
                    due = min(due, max(now, earliest) + (self._end - max(now, earliest)) / 2)
                if now >= due:
                    return True
                self._changed.wait(due - now)


@dataclass
class Stats:
    """What the tries of a client came to, since it was made."""

    requests: int = 0
    """Tries."""
    retries: int = 0
    """Tries after the first of a call."""
    lost_answers: int = 0
    """Tries that were sent and whose answer did not come."""
    outcome_unknown: int = 0
    """Answers with this code."""
    limited: int = 0
    """Answers with 429."""
    unavailable: int = 0
    """Answers with 503."""
    replayed: int = 0
    """Answers of a try before, which the server had kept: without the key these would have counted twice."""


def judge(
    answer: Answer, wanted: Optional[str] = None
) -> Tuple[Optional[Dict[str, Any]], Optional[CounterdError]]:
    """The body of an answer that is one of counterd's and well, with the member `wanted`, or else the error."""
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    if 200 <= answer.status < 300 and isinstance(body, dict) and (wanted is None or wanted in body):
        return body, None
    fields = body if isinstance(body, dict) else {}
    code, known = fields.get("code"), True
    if not isinstance(code, str):
        code, known = "bad_answer", False
    is_lost = answer.status in LOST or answer.status < 300 or (not known and answer.status >= 500)
    error = CounterdError(
        code,
        str(fields.get("detail") or ("not an answer of counterd" if not known else "")),
        status=answer.status,
        retry_after=seconds(answer.headers.get("retry-after")),
        request_id=fields.get("request_id") or answer.headers.get("x-request-id"),
        fields=fields,
        is_final=not (is_lost or answer.status in RETRIED),
    )
    error.maybe_counted = is_lost or code == "outcome_unknown"
    return None, error


def seconds(text: Optional[str]) -> Optional[float]:
    """Of a `Retry-After`, which counterd always writes in seconds; `None` for anything else."""
    if text is not None and text.strip().isdigit():
        return float(text.strip())
    return None


def new_key() -> str:
    """An Idempotency-Key that nobody else has."""
    return uuid.uuid4().hex
