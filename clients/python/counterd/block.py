"""What a `with` block closes at its end, and what that leaves."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import TracebackType
from typing import List, Optional, Type, TypeVar, Union

from .errors import CounterdError
from .model import Operation

log = logging.getLogger("counterd")

Self = TypeVar("Self", bound="Block")


@dataclass
class Left:
    """What a `close()` could not send in time."""

    unsent: List[Operation] = field(default_factory=list)
    """These were not counted."""
    unknown: List[Operation] = field(default_factory=list)
    """These may have been counted: their batch was sent, and no answer came. To go on, send exactly these:
    `client.batch(left.unknown, mode="each", key=left.key)`."""
    key: Optional[str] = None
    """The key of the batch of `unknown`."""

    def __len__(self) -> int:
        return len(self.unsent) + len(self.unknown)


class Block:
    """Closes itself at the end of a `with` block, and raises when something is left, but not over another error."""

    def close(self) -> Union[None, Left, List[Left]]:
        """Ends it; returns what is left."""
        raise NotImplementedError

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        closed = self.close()
        left = closed if isinstance(closed, list) else [] if closed is None else [closed]
        unsent = sum(len(one.unsent) for one in left)
        unknown = sum(len(one.unknown) for one in left)
        if unsent + unknown == 0:
            return
        detail = f"{unsent} operations were not sent, {unknown} have no answer"
        keys = ", ".join(one.key for one in left if one.key is not None)
        if keys:
            detail += f" (key {keys})"
        if error is not None:
            log.error("%s", detail)
            return
        not_flushed = CounterdError("not_flushed", detail)
        not_flushed.left = left
        raise not_flushed
