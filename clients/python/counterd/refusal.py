"""Operations of a batch that the server refuses."""

from __future__ import annotations

import logging
from typing import Callable, Optional

from .errors import CounterdError
from .model import Operation

log = logging.getLogger("counterd")

OnRefused = Callable[[Operation, CounterdError], None]

LARGEST_BATCH = 1000
"""Operations that the server takes in one batch."""


def tell_refused(
    on_refused: Optional[OnRefused], operation: Operation, error: CounterdError
) -> None:
    """Gives it to `on_refused`, or to the log where there is none. What that raises ends nothing."""
    if on_refused is None:
        log.warning("refused: %s of %s: %s", operation.op, operation.name, error)
        return
    try:
        on_refused(operation, error)
    except Exception:
        log.exception("on_refused failed")
