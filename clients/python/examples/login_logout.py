"""Players log in and out. One buffer keeps one order: Ben's log-out never overtakes his log-in."""

import os

from counterd import Client

url = os.environ.get("COUNTERD_URL", "http://127.0.0.1:8080")


def refused(operation, error):
    """A log-out that was not counted, such as below 0: somebody has to look at it."""
    print(f"refused: {operation.op} of {operation.name}: {error}")


with Client(url, os.environ.get("COUNTERD_TOKEN")) as client:
    with client.buffer(on_refused=refused) as buffer:

        def log_in(player):
            buffer.increment("online_players")
            buffer.increment("daily_active_users", user_id=player)

        def log_out(player):
            buffer.decrement("online_players")

        log_in("anna")
        log_in("ben")
        log_out("ben")
    online, today = "online_players", "daily_active_users"
    read = client.get_many([online, today])
    print(f"{read[online].value} online, {read[today].value} today")
