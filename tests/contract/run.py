"""Holds a server to its contract: schemathesis with all its checks, and after it the sums.

    run.py COUNTERD REQUESTS SEED DIRECTORY

Starts the server in the directory, has schemathesis make requests until there were so many, and compares what the server
answered with what it counted: the sums of accepted operations equal those of the days, and nothing was counted by a request
that was refused. Exits 1 when anything is not as the contract says.
"""

import collections
import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
TOKEN = "the-admin-token-of-the-contract"
# What each round asks of each call, and how many rounds there are at most.
MOST_EXAMPLES, MOST_ROUNDS = 1000, 100

DEFINITIONS = {
    "games": {"kind": "sum", "reset": "daily"},
    "dau": {"kind": "unique", "reset": "daily"},
    "recent": {"kind": "unique", "window": "5m"},
    "here": {"kind": "presence", "ttl": "5m"},
}


def call(address, method, path, body=None):
    """Asks the server; gives status and JSON."""
    request = urllib.request.Request(f"http://{address}{path}", method=method)
    request.add_header("Authorization", f"Bearer {TOKEN}")
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, data, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def start(binary, directory):
    """Starts the server; gives its process and address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COUNTERD_")}
    environment.update({
        "COUNTERD_SERVER__LISTEN": address,
        "COUNTERD_STORAGE__DATA_DIR": str(directory / "data"),
        "COUNTERD_STORAGE__MIN_FREE": "1MiB",
        "COUNTERD_AUTH__ADMIN_TOKEN": TOKEN,
        "COUNTERD_AUTH__WRITE_TOKEN": "the-write-token-of-the-contract",
        "COUNTERD_AUTH__READ_TOKEN": "the-read-token-of-the-contract",
        # Wrong tokens are among what is tried, and all of it comes from one address.
        "COUNTERD_LIMITS__WRONG_ADMIN_TOKENS": "off",
        # What was deleted may be made anew soon.
        "COUNTERD_COUNTERS__GONE_FOR": "1s",
        "COUNTERD_LOG__ACCESS": "errors",
        "TZ": "UTC",
    })
    output = open(directory / "output", "ab")
    process = subprocess.Popen([binary, "serve"], env=environment, cwd=directory, stdout=output, stderr=output)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if call(address, "GET", "/readyz")[0] == 200:
                return process, address
        except OSError:
            time.sleep(0.05)
    process.kill()
    sys.exit(f"the server does not become ready; see {directory}/output")


def begin_round(address, directory, examples, seed, job):
    """Has schemathesis begin a round of requests; gives its process."""
    tool = pathlib.Path(sys.executable).with_name("schemathesis")
    environment = dict(
        os.environ,
        COUNTERD_CONTRACT_TOKEN=TOKEN,
        COUNTERD_CONTRACT_HOOKS=str(HERE / "hooks.py"),
        COUNTERD_CONTRACT_RECORD=str(directory / f"record.{job}"),
        COUNTERD_CONTRACT_JOB=job,
        PYTHONDONTWRITEBYTECODE="1",
    )
    command = [
        str(tool), "--config-file", str(HERE / "schemathesis.toml"), "run", str(HERE.parents[1] / "docs" / "openapi.json"),
        "--url", f"http://{address}/", "--max-examples", str(examples), "--seed", str(seed), "--checks", "all",
        # A deleted counter keeps its history: hooks.py has this check for all other calls. What is named here wins over
        # the configuration.
        "--exclude-checks", "use_after_free",
    ]
    own = directory / job
    own.mkdir(exist_ok=True)
    said = open(own / "said", "wb")
    return subprocess.Popen(command, env=environment, cwd=own, stdout=said, stderr=said)


def round_of(address, directory, examples, seed, jobs):
    """Has schemathesis make one round of requests in so many processes; says whether all checks held."""
    names = [f"j{number}" for number in range(jobs)]
    running = [begin_round(address, directory, examples, seed * jobs + at, job) for at, job in enumerate(names)]
    good = True
    for job, process in zip(names, running, strict=True):
        good = process.wait() == 0 and good
        print((directory / job / "said").read_text(errors="replace"), flush=True)
    return good


def records(directory):
    for file in sorted(directory.glob("record.*")):
        with open(file, encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)


def named(record):
    """The counter in a request's path, decoded; None without one."""
    path = urllib.parse.urlsplit(record["url"]).path
    parts = path.split("/")
    return urllib.parse.unquote(parts[4]) if len(parts) > 4 and parts[3] == "counter" else None


def operations(record):
    """What a good answer says was done: counter, operation, answer of each."""
    answer = record["answer"]
    if record["label"] == "batch":
        sent = json.loads(record["body"])["operations"]
        return [(one["name"], one["op"], done) for one, done in zip(sent, answer["results"], strict=True)]
    return [(named(record), record["label"], answer)]


def sums(directory):
    """Sums of what accepted operations added and took, by counter; and all names that were asked for."""
    added, taken, names = collections.Counter(), collections.Counter(), set()
    for record in records(directory):
        name = named(record)
        if name:
            names.add(name)
        counts = record["label"] in ("increment", "decrement", "heartbeat", "leave", "batch")
        if not counts or record["method"] != "POST" or record["status"] != 200 or record["replayed"]:
            continue
        for name, operation, done in operations(record):
            names.add(name)
            change = done.get("change")
            if change is None:
                down = operation in ("decrement", "leave")
                change = -done.get("applied", 0) if down else done.get("applied", 0)
            (added if change >= 0 else taken)[name] += abs(change)
    return added, taken, names


def compare(address, directory):
    """Compares the sums with the days of the server; gives what differs."""
    added, taken, names = sums(directory)
    wrong = []
    for name in sorted(names):
        status, text = call(address, "GET", f"/api/v1/counter/{urllib.parse.quote(name, safe='')}/history")
        days = json.loads(text).get("days", []) if status == 200 else []
        kept = (sum(day["increments"] for day in days), sum(day["decrements"] for day in days))
        if kept != (added[name], taken[name]):
            wrong.append(f"{name}: answered {added[name]} added and {taken[name]} taken, kept {kept[0]} and {kept[1]}")
    counted = sum(added.values()) + sum(taken.values())
    print(f"{len(names)} names, {counted} counted in all, {len(wrong)} differ")
    return wrong


def main():
    binary, wanted, seed, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), pathlib.Path(sys.argv[4])
    print(f"seed {seed}", flush=True)
    server, address = start(binary, directory)
    good = True
    try:
        jobs = 2 if wanted > 20_000 else 1
        for job in range(jobs):
            for name, definition in DEFINITIONS.items():
                call(address, "PUT", f"/api/v1/counter/j{job}.{name}", definition)
        made, rounds = 0, 0
        while made < wanted and rounds < MOST_ROUNDS and good:
            # About what a process makes in a round: a thousand requests, and thirty of each example.
            examples = max(1, min(MOST_EXAMPLES, ((wanted - made) // jobs - 1000) // 30))
            good = round_of(address, directory, examples, seed + rounds, jobs) and good
            made, rounds = sum(1 for _ in records(directory)), rounds + 1
            print(f"{made} requests so far", flush=True)
        wrong = compare(address, directory)
        for line in wrong[:20]:
            print(line)
        good = good and not wrong and server.poll() is None
        print(f"{made} requests made")
    finally:
        server.terminate()
        server.wait(60)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
