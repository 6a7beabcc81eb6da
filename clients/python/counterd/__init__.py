"""Client of counterd: counts each operation once, also when answers are lost.

Begin with `Client`. It is for backends: the write token must never be in a game client.
"""

from .block import Left
from .buffer import Buffer
from .client import Client
from .errors import CounterdError
from .leases import Leases
from .model import BatchResult, Change, Counter, Counters, Operation, Refused
from .retry import Stats
from .stream import Event, Subscription

__all__ = [
    "BatchResult",
    "Buffer",
    "Change",
    "Client",
    "Counter",
    "CounterdError",
    "Counters",
    "Event",
    "Leases",
    "Left",
    "Operation",
    "Refused",
    "Stats",
    "Subscription",
]
