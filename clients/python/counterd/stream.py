"""Being told of changes: server-sent events, with resume."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple
from urllib.parse import quote

from .block import Block
from .errors import CounterdError
from .model import Counter, read
from .retry import RetryPolicy, judge
from .transport import Address, Answer

SHORTEST_PAUSE = 0.2
"""Seconds between two connections, whatever the server says."""

LONGEST_LINE = 8 << 20
"""Bytes. A state of 100 counters is far below."""


@dataclass(frozen=True)
class Event:
    """What a subscription is told."""

    kind: str
    """`state`: how all counters stand, or with `resumed` those that say something new. `update`: one counter, or the
    server's mode. `reconnecting`: the connection is gone; what was shown may be old until the next `state`."""
    counters: Tuple[Counter, ...]
    """The counters that the event names. In a `state`, those that do not exist have `missing`."""
    data: Mapping[str, Any]
    """The event as it came."""

    @property
    def resumed(self) -> bool:
        """Of a `state`: whether counters that it does not name are as they were."""
        return self.data.get("resumed") is True


class Subscription(Block):
    """Iterates over events until `close()`; connects again by itself and misses no last value.

    It raises `CounterdError` when the server refuses it for good, such as for its token. For one thread; `close` may come
    from any.
    """

    def __init__(
        self,
        address: Address,
        token: Optional[str],
        names: List[str],
        patience: float,
        policy: RetryPolicy,
        forget: Callable[["Subscription"], None],
    ) -> None:
        if not names:
            raise ValueError("a subscription names at least one counter")
        self._address = address
        self._token = token
        self._path = f"{address.prefix}/api/v1/stream?names={quote(','.join(names), safe=':,')}"
        self._patience = patience
        self._policy = policy
        self._forget = forget
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._socket: Optional[socket.socket] = None
        self._position = ""
        # What the server said to wait, once; and connections that told nothing.
        self._retry: Optional[float] = None
        self._failures = 0
        self._events = self._run()

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def __next__(self) -> Event:
        return next(self._events)

    def close(self) -> None:
        """Ends the iteration, also while it waits."""
        with self._lock:
            self._closed.set()
            if self._socket is not None:
                try:
                    self._socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # It is gone already.
        self._forget(self)

    def _run(self) -> Iterator[Event]:
        is_told = False
        while not self._closed.is_set():
            pause = 0.0
            connection = self._address.connection(self._patience)
            try:
                for event in self._listen(connection):
                    is_told = True
                    yield event
            except CounterdError as error:
                if error.is_final:
                    self.close()
                    raise
                pause = error.retry_after or 0.0
            except (OSError, http.client.HTTPException, ValueError):
                pass  # It broke off; a text that is no event is as bad.
            finally:
                with self._lock:
                    self._socket = None
                connection.close()
            if self._closed.is_set():
                return
            if is_told:
                is_told = False
                yield Event("reconnecting", (), {})
            self._closed.wait(max(SHORTEST_PAUSE, pause + self._pause()))

    def _pause(self) -> float:
        """What the server said, once, and a random time that grows while nothing comes."""
        self._failures += 1
        retry, self._retry = self._retry, None
        return (retry or 0.0) + self._policy.jitter(self._failures)

    def _listen(self, connection: http.client.HTTPConnection) -> Iterator[Event]:
        headers = {"Accept": "text/event-stream"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if self._position:
            headers["Last-Event-ID"] = self._position
        connection.connect()
        with self._lock:
            if self._closed.is_set():
                return
            self._socket = connection.sock
        connection.request("GET", self._path, headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            answered = {name.lower(): value for name, value in response.getheaders()}
            _, error = judge(Answer(response.status, answered, response.read()))
            raise error or CounterdError("bad_answer", "no stream", status=response.status)
        try:
            for kind, data in self._blocks(response):
                self._failures = 0
                event = event_of(kind, data)
                if event is not None:
                    yield event
                if self._closed.is_set():
                    return
        finally:
            response.close()

    def _blocks(self, response: http.client.HTTPResponse) -> Iterator[Tuple[str, str]]:
        """The events that come whole, until the stream ends."""
        kind, data, position = "", [], None  # type: Tuple[str, List[str], Optional[str]]
        while True:
            line = response.readline(LONGEST_LINE)
            if not line.endswith(b"\n"):
                return  # The end; a part of an event is none.
            text = line.decode("utf-8").rstrip("\r\n")
            if not text:
                if position is not None:
                    self._position = position
                if data:
                    yield kind, "\n".join(data)
                kind, data, position = "", [], None
                continue
            field, _, value = text.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if field == "event":
                kind = value
            elif field == "data":
                data.append(value)
            elif field == "id":
                position = value
            elif field == "retry" and value.isdigit():
                self._retry = int(value) / 1000


def event_of(kind: str, text: str) -> Optional[Event]:
    """The event to tell; `None` for one that only says that the connection lives, or that is not known."""
    data: Dict[str, Any] = json.loads(text)
    if kind == "state":
        counters = [read(Counter, one) for one in data.get("counters", ())]
        counters += [Counter(name, missing=True) for name in data.get("missing", ())]
        counters += [Counter(name, unknown_here=True) for name in data.get("unknown_here", ())]
        return Event(kind, tuple(counters), data)
    if kind == "update":
        return Event(kind, (read(Counter, data),) if "name" in data else (), data)
    return None
