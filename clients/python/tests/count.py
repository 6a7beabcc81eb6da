"""Counts with several threads and a buffer until its input ends; says what it was told was counted.

Usage: count.py URL THREADS. Each line is JSON; the last one has `acknowledged`: the sum of each counter.
"""

import json
import sys
import threading
import time
from collections import Counter as Sums
from dataclasses import asdict

from counterd import Client, CounterdError, Operation, Refused

url, threads = sys.argv[1], int(sys.argv[2])
is_over = threading.Event()
lock = threading.Lock()
acknowledged = Sums()
calls = given_up = 0


def note(told):
    """Adds up what was told: names and amounts."""
    global calls
    with lock:
        calls += 1
        for name, amount in told:
            acknowledged[name] += amount


def count(number):
    """One thread: each kind of call in turn."""
    global given_up
    up, down = f"client:up:{number}", f"client:both:{number}"
    client.increment(up)
    note([(up, 1)])
    client.increment(down, 1000)
    note([(down, 1000)])
    turn = 0
    while not is_over.is_set():
        turn += 1
        try:
            if turn % 4 == 0:
                note([(up, client.increment(up, turn).applied)])
            elif turn % 4 == 1:
                change = client.decrement(down)
                note([(down, -change.applied)])
            elif turn % 4 == 2:
                change = client.increment("client:users", user_id=f"{number}-{turn // 8}")
                note([("client:users", change.applied)])
            else:
                batch = [Operation("increment", up, 2), Operation("increment", down, 3)]
                results = client.batch(batch).results
                note([(one.name, told.applied) for one, told in zip(batch, results)])
        except Exception as error:
            # Also what should not happen: a thread that ends in silence would hide it.
            print(repr(error), file=sys.stderr)
            with lock:
                given_up += getattr(error, "code", None) != "below_minimum"


def fill(buffer):
    """Fills the buffer, which sends only when it is full or closed."""
    added = 0
    while not is_over.is_set():
        try:
            buffer.increment("client:buffered", 2)
            added += 2
        except CounterdError as error:
            assert error.code == "buffer_full", error
        time.sleep(0.001)
    note([("client:buffered", added)])


def say(more):
    with lock:
        told = {"calls": calls, "given_up": given_up, "stats": asdict(client.stats()), **more}
    print(json.dumps(told), flush=True)


client = Client(url, tries=None, give_up_after=120, first_pause=0.02, longest_pause=0.2)
buffer = client.buffer(max_operations=50, max_delay=3600)
workers = [threading.Thread(target=count, args=(number,)) for number in range(threads)]
workers.append(threading.Thread(target=fill, args=(buffer,)))
for worker in workers:
    worker.start()
threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
while not is_over.wait(0.05):
    say({})
for worker in workers:
    worker.join()
left = client.close(60)
acknowledged["client:buffered"] -= 2 * buffer.refused
say({"acknowledged": acknowledged, "left": sum(len(one) for one in left)})
