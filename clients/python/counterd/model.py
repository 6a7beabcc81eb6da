"""What is sent and what is answered, as values. Members that this version does not know are ignored."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Dict, List, Mapping, Optional, Tuple, Type, TypeVar, Union

T = TypeVar("T")


def read(kind: Type[T], answer: Mapping[str, Any]) -> T:
    """Makes a dataclass of the members of `answer` that it has."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in answer.items() if name in names})


@dataclass(frozen=True)
class Operation:
    """One operation of a batch or a buffer."""

    op: str
    """`increment`, `decrement`, `heartbeat` or `leave`."""
    name: str
    value: int = 1
    user_id: Optional[str] = None
    session: Optional[str] = None

    def body(self) -> Dict[str, Any]:
        """The fields of the call's own body; those that have their default are left out."""
        body: Dict[str, Any] = {}
        if self.value != 1:
            body["value"] = self.value
        if self.user_id is not None:
            body["user_id"] = self.user_id
        if self.session is not None:
            body["session"] = self.session
        return body

    def in_batch(self) -> Dict[str, Any]:
        """The object that stands for it in a batch."""
        return {"op": self.op, "name": self.name, **self.body()}


@dataclass(frozen=True)
class Change:
    """What an operation did. docs/api.md has the meaning of each member."""

    current_value: int
    counted: bool
    applied: int
    revision: int
    period: Optional[str] = None
    created: bool = False
    change: Optional[int] = None
    expires_at: Optional[str] = None


@dataclass(frozen=True)
class Refused:
    """An operation of a batch of mode `each` that was refused; it was not counted."""

    code: str
    detail: str
    fields: Mapping[str, Any]
    counted: bool = False


@dataclass(frozen=True)
class BatchResult:
    """One result for each operation, in their order."""

    results: Tuple[Union[Change, Refused], ...]
    refused: int

    @staticmethod
    def read(answer: Mapping[str, Any]) -> "BatchResult":
        def one(result: Mapping[str, Any]) -> Union[Change, Refused]:
            if "code" in result:
                return Refused(result["code"], result.get("detail", ""), dict(result))
            return read(Change, result)

        results = tuple(one(result) for result in answer["results"])
        return BatchResult(results, answer.get("refused", 0))


@dataclass(frozen=True)
class Counter:
    """What a counter says. docs/api.md has the meaning of each member."""

    name: str
    value: Optional[int] = None
    last_updated: Optional[str] = None
    kind: Optional[str] = None
    reset: Optional[str] = None
    revision: Optional[int] = None
    epoch: Optional[int] = None
    period: Optional[str] = None
    resets_at: Optional[str] = None
    window: Optional[Mapping[str, Any]] = None
    leases: Optional[int] = None
    settling: Optional[bool] = None
    stale: bool = False
    as_of: Optional[str] = None
    source: Optional[str] = None
    missing: bool = False
    """In an update of a subscription: the counter is gone, or not there yet."""
    unknown_here: bool = False
    """In an update of a subscription: the copy that stands in for the store lacks it."""
    corrupt: bool = False
    """In an update of a subscription: its record cannot be read."""


@dataclass(frozen=True)
class Counters:
    """Counters that were read at once."""

    counters: Mapping[str, Counter]
    missing: Tuple[str, ...]
    unknown_here: Tuple[str, ...]
    stale: bool

    def __getitem__(self, name: str) -> Counter:
        return self.counters[name]

    @staticmethod
    def read(answer: Mapping[str, Any]) -> "Counters":
        counters: List[Counter] = [read(Counter, one) for one in answer["counters"]]
        return Counters(
            {counter.name: counter for counter in counters},
            tuple(answer.get("missing", ())),
            tuple(answer.get("unknown_here", ())),
            answer.get("stale", False),
        )
