"""A label on a main screen that follows a counter. It only reads: give it `auth.read_token`, where one is set."""

import os

from counterd import Client

url = os.environ.get("COUNTERD_URL", "http://127.0.0.1:8080")
label = "– players online"
with Client(url, os.environ.get("COUNTERD_TOKEN")) as client:
    for event in client.subscribe(["online_players"]):
        for counter in event.counters:
            label = "– players online" if counter.value is None else f"{counter.value} players online"
        print(label + (" (reconnecting)" if event.kind == "reconnecting" else ""), flush=True)
