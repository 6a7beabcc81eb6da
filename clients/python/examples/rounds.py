"""Finished rounds. Each has a key of its own, so that a round that is told twice counts once, for 24 hours at least."""

import os

from counterd import Client, CounterdError

url = os.environ.get("COUNTERD_URL", "http://127.0.0.1:8080")
with Client(url, os.environ.get("COUNTERD_TOKEN")) as client:
    # The second one is told twice, as by a queue that delivers at least once.
    for number in ["4711", "4712", "4712", "4713"]:
        try:
            change = client.increment("total_games_played", key=f"round-{number}")
        except CounterdError as error:
            print(f"round {number}: {error}")
            raise
        print(f"round {number}: {change.current_value} played today")
