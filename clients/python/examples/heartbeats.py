"""Players who are here now, until the input ends. A crash of this program needs no clean-up: its leases end.

It needs a counter of kind `presence` with "ttl":"90s": see docs/presence.md.
"""

import os
import sys

from counterd import Client

url = os.environ.get("COUNTERD_URL", "http://127.0.0.1:8080")
with Client(url, os.environ.get("COUNTERD_TOKEN")) as client:
    with client.leases("players_here", every=30) as leases:
        leases.keep_alive("anna", session="boot-1")
        leases.keep_alive("ben", session="boot-1")
        leases.flush()
        print(f"{client.get('players_here').value} players here", flush=True)
        sys.stdin.read()
