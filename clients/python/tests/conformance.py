"""Does what the cases of a file say, and prints a line of JSON for each: what each call came to.

Usage: conformance.py CASES. `clients/README.md` says what a case means; what is expected is not in the file.
"""

import json
import sys
import threading
import urllib.request
from dataclasses import asdict

from counterd import Client, CounterdError, Operation


def failed(error):
    told = {name: getattr(error, name) for name in ("code", "status", "retry_after", "request_id")}
    told.update(maybe_counted=error.maybe_counted, key=error.key, fields=error.fields)
    told["left"] = [what_is_left(one) for one in error.left]
    return {"error": told}


def what_is_left(left):
    return {
        "unsent": [one.in_batch() for one in left.unsent],
        "unknown": [one.in_batch() for one in left.unknown],
        "key": left.key,
    }


class Case:
    """One case: its client, and what was opened with it."""

    def __init__(self, url, options):
        self.url = url
        self.client = Client(url, **options)
        self.refused = []
        self.part = None

    def on_refused(self, operation, error):
        self.refused.append({"op": operation.op, "name": operation.name, "code": error.code})

    def do(self, call, **given):
        client = self.client
        if call in ("increment", "decrement", "heartbeat", "leave"):
            return asdict(getattr(client, call)(given.pop("name"), **given))
        if call == "get":
            return asdict(client.get(given["name"]))
        if call == "get_many":
            read = client.get_many(given["names"])
            return {
                "counters": [asdict(one) for one in read.counters.values()],
                "missing": list(read.missing),
            }
        if call == "batch":
            given["operations"] = [Operation(**one) for one in given["operations"]]
            done = client.batch(**given)
            return {"results": [asdict(one) for one in done.results], "refused": done.refused}
        if call == "at_once":
            threads = [
                threading.Thread(target=self.do, kwargs=given["do"]) for _ in range(given["times"])
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return {}
        if call == "buffer":
            self.part = client.buffer(on_refused=self.on_refused, **given)
            return {}
        if call == "leases":
            self.part = client.leases(on_refused=self.on_refused, **given)
            return {}
        if call == "add":
            self.part.add(Operation(**given))
            return {}
        if call == "keep_alive":
            self.part.keep_alive(**given)
            return {}
        if call == "let_go":
            self.part.leave(**given)
            return {}
        if call == "flush":
            return {"flushed": self.part.flush(**given), "refused": list(self.refused)}
        if call == "close_part":
            return {**what_is_left(self.part.close(**given)), "refused": list(self.refused)}
        if call == "close":
            left = [what_is_left(one) for one in client.close(**given)]
            return {"left": left, "refused": list(self.refused)}
        if call == "end_block":
            with client:
                return {}
        if call == "subscribe":
            take, events = given.pop("take"), []
            with client.subscribe(**given) as subscription:
                for event in subscription:
                    counters = [asdict(one) for one in event.counters]
                    events.append({"kind": event.kind, "counters": counters, "resumed": event.resumed})
                    if len(events) == take:
                        break
            return {"events": events}
        if call == "requests":
            urllib.request.urlopen(f"{self.url}/conformance/requests/{given['count']}").read()
            return {}
        raise ValueError(call)

    def result_of(self, call):
        try:
            return {"ok": self.do(**call)}
        except CounterdError as error:
            return failed(error)


with open(sys.argv[1], encoding="utf-8") as file:
    cases = json.load(file)["cases"]
for case in cases:
    one = Case(case["url"], case["client"])
    results = [one.result_of(call) for call in case["calls"]]
    one.client.close(0)
    print(json.dumps({"case": case["name"], "results": results}), flush=True)
