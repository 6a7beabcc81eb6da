"""What schemathesis cannot know by itself of counterd's contract.

JSON Schema has no words for some limits (bytes of UTF-8, an instant that is yet to come, a step that fits a range): here are
values within them. Each call and its answer are written down, so that afterwards the sums can be compared.
"""

import itertools
import json
import os
import re
import threading
from datetime import datetime, timedelta, timezone

import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import use_after_free

# Few names, so that calls meet each other's counters, and a name now and then that nobody used. Those that run beside this
# one have others, since each expects what it deleted to be gone.
JOB = os.environ["COUNTERD_CONTRACT_JOB"]
HERE_NAME = f"{JOB}.here"
NAMES = [f"{JOB}.gauge:{number}" for number in range(8)] + [
    f"{JOB}.games", f"{JOB}.dau", f"{JOB}.recent", HERE_NAME, "online_players", "daily_active_users", "active_users_1h",
]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
NEW_NAMES = st.text(LETTERS, min_size=1, max_size=3).map(lambda text: f"{JOB}.new.{text}")
COUNTER_NAMES = st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), NEW_NAMES)

PRINTABLE = st.characters(exclude_categories=("Cs", "Cc"))


def within(most):
    """Texts of at most so many bytes without control characters."""
    return st.text(PRINTABLE, max_size=most).filter(lambda text: len(text.encode()) <= most)


def instants():
    begin = datetime.now(timezone.utc) + timedelta(minutes=10)
    seconds = st.integers(0, 30 * 86_400)
    return seconds.map(lambda after: (begin + timedelta(seconds=after)).strftime("%Y-%m-%dT%H:%M:%SZ"))


FORMATS = {
    "counter-name": COUNTER_NAMES,
    "counter-pattern": st.one_of(COUNTER_NAMES, st.just("*"), COUNTER_NAMES.map(lambda name: name[:3] + "*")),
    "utf8-128": st.one_of(st.sampled_from(["u1", "u2", "gs-17", "ü", "玩家一"]), within(128).filter(bool)),
    "utf8-1000": within(1000),
    "reason": within(1000).filter(lambda text: text.strip()),
    "date-time": instants(),
    # Each of them is a window, a ttl or a range; the grain and the step are chosen to fit them all.
    "span": st.sampled_from(["5m", "10m", "1h"]),
    "grain": st.sampled_from(["1s", "5s", "1m", "5m"]),
    "step": st.sampled_from(["1m", "5m"]),
    "position": st.tuples(st.integers(0, 2**63), st.integers(0, 2**63)).map(lambda pair: f"{pair[0]}.{pair[1]}"),
}
for name, strategy in FORMATS.items():
    schemathesis.openapi.format(name, strategy)


@schemathesis.hook
def map_query(context, query):
    """The first day comes before the last."""
    first, last = (query or {}).get("from"), (query or {}).get("to")
    if isinstance(first, str) and isinstance(last, str) and first > last:
        query["from"], query["to"] = last, first
    return query


def whole(value):
    """The value with whole numbers written without a fraction: the contract refuses `1.0`, which JSON Schema takes for 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {name: whole(member) for name, member in value.items()}
    return value


@schemathesis.hook
def map_body(context, body):
    return whole(body)


KEY = re.compile("[!-~]([ -~]{0,199}[!-~])?")
NUMBERS = itertools.count()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes most keys new ones: else nearly all requests with a key would meet that of another request."""
    name = "Idempotency-Key"
    number = next(NUMBERS)
    key = (case.headers or {}).get(name)
    if isinstance(key, str) and KEY.fullmatch(key) and number % 8:
        case.headers[name] = f"{key}.{os.getpid()}.{number}"
    label = case.operation.definition.raw.get("operationId")
    is_good = case.meta is not None and case.meta.generation.mode.is_positive
    if is_good and label == "series":
        in_the_past(case.query or {}, number)
    if is_good and label in ("heartbeat", "leave") and number % 2:
        case.path_parameters["name"] = HERE_NAME
    if isinstance(case.body, dict):
        for field in ("until", "expires_at"):
            if field in case.body:
                case.body[field] = to_come(case.body[field])
        for field in SPANS & case.body.keys():
            case.body[field] = span(case.body[field], is_good)
        if not is_good:
            wrong_sessions(case.body)


SPANS = {"window", "grain", "ttl"}
SPAN = re.compile("([0-9]+[smhd])+")


def span(value, is_good):
    """A format beside `null` is drawn wrongly now and then: a text without the format counts as right, and `null` as a wrong
    text. In place of them comes what they were to be."""
    if is_good and isinstance(value, str) and not SPAN.fullmatch(value):
        return "1m"
    return "no span" if value is None and not is_good else value


def wrong_sessions(body):
    """The same of a session, also in the operations of a batch: `null` is none, and an empty text is a wrong one."""
    operations = body.get("operations")
    for one in [body, *(operations if isinstance(operations, list) else [])]:
        if isinstance(one, dict) and "session" in one and one["session"] is None:
            one["session"] = ""


def in_the_past(query, number):
    """A day goes without a range, and both lie in the past week."""
    before = datetime.now(timezone.utc) - timedelta(hours=number % 160)
    if "day" in query:
        query.pop("range", None)
        query.pop("to", None)
        query["day"] = before.strftime("%Y-%m-%d")
    elif "to" in query:
        query["to"] = before.strftime("%Y-%m-%dT%H:%M:%SZ")


def to_come(value):
    """An instant that is yet to come, and within a month, in place of another one; what is no instant stays."""
    try:
        instant = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        return value
    if instant.tzinfo is None:
        return value
    soon = datetime.now(timezone.utc) + timedelta(minutes=10)
    if soon <= instant <= soon + timedelta(days=30):
        return value
    return (soon + timedelta(seconds=instant.microsecond % 86_400)).strftime("%Y-%m-%dT%H:%M:%SZ")


RECORD = open(os.environ["COUNTERD_CONTRACT_RECORD"], "a", encoding="utf-8")
LOCK = threading.Lock()


@schemathesis.hook
def after_call(context, case, response):
    """Writes down what was asked and answered."""
    try:
        answer = json.loads(response.content)
    except ValueError:
        answer = None
    body = response.request.body
    line = {
        "label": case.operation.definition.raw.get("operationId"),
        "method": response.request.method,
        "url": response.request.url,
        "status": response.status_code,
        "replayed": "idempotency-replayed" in response.headers,
        "body": body.decode("utf-8", "replace") if isinstance(body, bytes) else body,
        "answer": answer,
    }
    with LOCK:
        RECORD.write(json.dumps(line) + "\n")
        RECORD.flush()


@schemathesis.check
def a_good_request_is_refused_for_the_counter_alone(ctx, response, case):
    """Of a request that fits the schema only the counter's kind may make a 400."""
    if response.status_code != 400 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    code = response.json().get("code")
    # The limit is of bytes as they are sent, escapes and all, for which JSON Schema has no word.
    if code == "invalid_metadata" and len(response.request.body) > 4096:
        return
    if case.operation.definition.raw.get("operationId") in ("increment", "decrement"):
        assert code in ("missing_user_id", "invalid_value"), code


@schemathesis.check
def a_deleted_counter_keeps_its_history_alone(ctx, response, case):
    """The check `use_after_free`, which takes no operation out where requests follow each other."""
    if case.operation.definition.raw.get("operationId") != "history":
        use_after_free(ctx, response, case)
