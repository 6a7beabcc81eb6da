"""A few kept-alive connections, and one try of one request.

Kept out: when a request is tried again.
"""

from __future__ import annotations

import http.client
import socket
import threading
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional
from urllib.parse import urlsplit

from .errors import CounterdError


class NoAnswer(Exception):
    """A try that got no whole answer."""

    def __init__(self, cause: BaseException, *, was_sent: bool, was_kept: bool) -> None:
        super().__init__(str(cause) or type(cause).__name__)
        self.was_sent = was_sent
        """Whether the server may have got the request."""
        self.was_kept = was_kept
        """Whether a connection that had served before ended without a byte of answer, as when the server closes it."""


@dataclass(frozen=True)
class Answer:
    """A whole answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Address:
    """Where the server is."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"no URL of a server: {url!r}; write http://host:port")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("the URL of a server has no query, no fragment and no user")
        self.is_tls = parts.scheme == "https"
        self.host: str = parts.hostname
        self.port = parts.port
        self.prefix = parts.path.rstrip("/")

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        """One that is not open yet."""
        if self.is_tls:
            return http.client.HTTPSConnection(self.host, self.port, timeout=timeout)
        return http.client.HTTPConnection(self.host, self.port, timeout=timeout)


class Transport:
    """At most `connections` to the server; who finds none free waits for one."""

    def __init__(self, address: Address, connections: int) -> None:
        if connections < 1:
            raise ValueError("connections is at least 1")
        self._address = address
        self._places = threading.Semaphore(connections)
        self._lock = threading.Lock()
        self._idle: List[http.client.HTTPConnection] = []
        self._is_closed = False

    def try_once(
        self, method: str, path: str, headers: Dict[str, str], body: Optional[bytes], timeout: float
    ) -> Answer:
        """One try. Raises `NoAnswer`."""
        if not self._places.acquire(timeout=timeout):
            raise NoAnswer(TimeoutError("no connection is free"), was_sent=False, was_kept=False)
        try:
            return self._try_on(self._take(timeout), method, path, headers, body, timeout)
        finally:
            self._places.release()

    def _take(self, timeout: float) -> http.client.HTTPConnection:
        with self._lock:
            if self._is_closed:
                raise CounterdError("closed", "the client is closed")
            # The one that rested least.
            return self._idle.pop() if self._idle else self._address.connection(timeout)

    def _try_on(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        headers: Dict[str, str],
        body: Optional[bytes],
        timeout: float,
    ) -> Answer:
        was_sent = False
        was_kept = connection.sock is not None
        try:
            connection.timeout = timeout
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(timeout)
            was_sent = True
            connection.request(method, self._address.prefix + path, body, headers)
            response = connection.getresponse()
            was_kept = False
            content = response.read()
            headers = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, headers, content)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            was_kept = was_kept and not isinstance(error, socket.timeout)
            if was_kept:
                # Others that rested are likely to have ended too.
                self._drop_idle()
            raise NoAnswer(error, was_sent=was_sent, was_kept=was_kept) from error
        except BaseException:
            connection.close()
            raise
        self._put_back(connection)
        return answer

    def _put_back(self, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            if connection.sock is not None and not self._is_closed:
                self._idle.append(connection)
                return
        connection.close()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Ends what rests; what is under way ends with its answer."""
        with self._lock:
            self._is_closed = True
        self._drop_idle()
