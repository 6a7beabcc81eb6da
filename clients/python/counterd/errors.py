"""The one exception of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional, Sequence

if TYPE_CHECKING:
    from .block import Left


class CounterdError(Exception):
    """Why a call did not succeed.

    Decide by `code`: one of the server's (docs/api.md lists them), or one of this package's:

    - `no_answer`: no connection, or the answer was lost.
    - `bad_answer`: an answer that is not counterd's, such as a proxy's; `status` has its status.
    - `closed`: the client, buffer or leases were closed before, or their thread failed, and the log says why.
    - `buffer_full`: the buffer has `max_queued` operations.
    - `not_flushed`: a `with` block ended, and some operations could not be sent in time: `left` has them.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        status: Optional[int] = None,
        retry_after: Optional[float] = None,
        request_id: Optional[str] = None,
        fields: Optional[Mapping[str, Any]] = None,
        is_final: bool = True,
    ) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        """For people."""
        self.status = status
        """The HTTP status; `None` without an answer."""
        self.retry_after = retry_after
        """How many seconds the server wants to be left alone."""
        self.request_id = request_id
        """The server's name for the request, as it is in its log."""
        self.fields: Dict[str, Any] = dict(fields or {})
        """All members of the answer, such as `current` and `minimum`, or `errors` of a batch."""
        self.is_final = is_final
        """Whether the same request would be refused again; if not, the client has retried it."""
        self.maybe_counted = False
        """Whether this call may have counted all the same: the outcome of a try is unknown. To go on, call again with
        `key`."""
        self.key: Optional[str] = None
        """The Idempotency-Key of a write."""
        self.left: Sequence[Left] = ()
        """Of `not_flushed`: what `close()` would have given."""

    def __str__(self) -> str:
        status = "" if self.status is None else f" {self.status}"
        maybe = " (may have counted)" if self.maybe_counted else ""
        return f"{self.code}{status}: {self.detail}{maybe}"
