"""No message in a queue can stop a worker or block its slots; it logs what it refuses."""

from __future__ import annotations

import base64
import binascii
import bz2
import json
import logging
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeAlias
from uuid import uuid4

import amqp
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as over
from hypothesis import strategies as st
from redis import Redis
from returns.result import Success

from onward import Catalog, run, submit_all, task
from onward import results as results_of
from onward.backends.celery import celery
from onward.backends.celery.backend import CeleryBackend
from tests.engines.process import until
from tests.engines.valkey import Valkey

SLOTS = 3
Put: TypeAlias = Callable[[dict[str, Any]], None]
Raw: TypeAlias = Callable[[bytes], None]

MEETING = threading.Barrier(SLOTS)


@task
def meet(n: int) -> int:
    """Ends when all slots of the worker run it."""
    MEETING.wait(20)
    return n


@task
def inc(n: int) -> int:
    return n + 1


class LogLines(logging.Handler):
    """Collects what the loggers of the worker log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Target:
    """A worker, and functions that put anything into its queue."""

    def __init__(self, backend: CeleryBackend, put: Put, raw: Raw, log: LogLines) -> None:
        self.backend, self.put, self.raw, self.log = backend, put, raw, log
        self.is_redis = backend.app.conf.broker_url.startswith("redis")

    def assert_well(self) -> None:
        """Asserts that all slots of the worker run calls, and that it never restarted."""
        refs = submit_all([meet(n) for n in range(SLOTS)], on=self.backend).unwrap()
        found = dict(results_of(refs, on=self.backend, timeout=120))
        assert [found[ref] for ref in refs] == [Success(n) for n in range(SLOTS)]
        assert not [line for line in self.log.lines if "Unrecoverable" in line or "lost" in line]


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def target(request: pytest.FixtureRequest, valkey: Valkey) -> Iterator[Target]:
    queue, log = uuid4().hex, LogLines()
    connection: Any
    put: Put
    raw: Raw
    logging.getLogger().addHandler(log)
    if request.param == "redis":
        broker = valkey.url
        connection = Redis.from_url(broker)

        raw = partial(connection.lpush, queue)

        def put_json(message: dict[str, Any]) -> None:
            raw(json.dumps(message).encode())

        put = put_json
    else:
        broker = request.getfixturevalue("rabbitmq").url
        host, _, port = broker.rpartition("@")[2].rstrip("/").partition(":")
        connection = amqp.Connection(f"{host}:{port}")
        connection.connect()
        put, raw = putting(connection, queue)
    with closing(celery(broker, valkey.url, queue=queue, lease=2)) as backend:
        worker = backend.serve(Catalog(meet, inc), concurrency=SLOTS).unwrap()
        yield Target(backend, put, raw, log)
        worker.stop()
    connection.close()
    logging.getLogger().removeHandler(log)


def decoded(raw: bytes) -> bytes:
    """Decodes base64; returns other bytes as they are."""
    try:
        return base64.b64decode(raw + b"===")
    except binascii.Error:
        return raw


def putting(connection: Any, queue: str) -> tuple[Put, Raw]:
    """Functions that put messages into a queue of RabbitMQ, except what amqp cannot encode."""
    channel = connection.channel()

    def send(message: Any) -> None:
        channel.basic_publish(message, exchange="", routing_key=queue)

    def put(message: dict[str, Any]) -> None:
        headers = message.get("headers")
        made: Any = amqp.Message(
            decoded(str(message.get("body", "")).encode(errors="replace")),
            application_headers=headers if isinstance(headers, dict) else {"headers": headers},
            **{
                name: message[key]
                for name, key in (
                    ("content_type", "content-type"),
                    ("content_encoding", "content-encoding"),
                )
                if isinstance(message.get(key), str)
            },
        )
        try:
            made._serialize_properties()
        except Exception:
            return
        send(made)

    def raw(properties: bytes) -> None:
        made: Any = amqp.Message(b"{}")
        made._serialize_properties = lambda: properties
        send(made)

    return put, raw


TICKET = '{"call":"nobody","flow":"inc","at":"0"}'


def message(**headers: object) -> dict[str, Any]:
    """A message that resembles one of Onward's."""
    after = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    body = [['{"now":"started","args":{"positional":[1]}}'], {"ticket": TICKET}, after]
    return {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "py", "task": "inc", "id": uuid4().hex, "root_id": "nobody"} | headers,
        "properties": {
            "correlation_id": "x",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "x"},
            "priority": 5,
            "body_encoding": "base64",
            "delivery_tag": uuid4().hex,
        },
    }


def with_body(body: object) -> dict[str, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return message() | {"body": base64.b64encode(raw).decode()}


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


BOMB = b" " * 50_000_000
STATE = '{"now":"flowing","raw":1}'

HOSTILE = {
    "unhashable shadow": message(shadow=["x"]),
    "zlib": message(compression="application/x-gzip") | with_body(zlib.compress(BOMB)),
    "bz2 by its encoding": with_body(bz2.compress(BOMB)) | {"content-encoding": "bz2"},
    "rot13 by its encoding": message() | {"content-encoding": "rot13"},
    "pickle": with_body(b"cos\nsystem\n.") | {"content-type": "application/x-python-serialize"},
    "yaml": with_body(b"!!python/object:os.system x") | {"content-type": "application/x-yaml"},
    "no type": message() | {"content-type": None},
    "deep": with_body(nested(100_000)),
    "long number": with_body(b"9" * 100_000),
    "no UTF-8": with_body(b'["\xff"]'),
    "another app's": with_body([[1, 2], {"x": 1}, {"chain": None}]),
    "another app's task": message(task="other.add") | with_body([[1, 2], {}, {}]),
    "protocol 1": with_body({"task": "inc", "id": "x", "args": [1], "kwargs": {}})
    | {"headers": {}},
    "a map": message(task="celery.map") | with_body([["inc", [1]], {}, {}]),
    "chain of nonsense": with_body([[STATE], {"ticket": TICKET}, {"chain": [5]}]),
    "chain of a text": with_body([[STATE], {"ticket": TICKET}, {"chain": "inc"}]),
    "chord of nonsense": with_body([[STATE], {"ticket": TICKET}, {"chord": [1]}]),
    "callbacks": with_body([[STATE], {"ticket": TICKET}, {"callbacks": [{"task": "inc"}]}]),
    "errbacks": with_body([[STATE], {"ticket": TICKET}, {"errbacks": [{"task": "inc"}]}]),
    "no ticket": with_body([["{}"], {"ticket": "{}"}, {}]),
    "no state": with_body([["{}"], {"ticket": TICKET}, {}]),
    "too many arguments": with_body([[STATE, STATE], {"ticket": TICKET}, {}]),
    "gather of one": message(task="onward.gather"),
    "expired": message(expires="2001-01-01T00:00:00+00:00"),
    "no eta": message(eta="soon"),
    "late eta": message(eta="9999-12-31T23:59:59+00:00"),
    "time limits": message(timelimit=["a", {}]),
    "many retries": message(retries=10**30),
    "negative retries": message(retries=-5),
    "stamps": message(stamped_headers=["x"], stamps={"x": {}}),
    "names of methods": message(update=1, get=2, as_execution_options=3, called_directly=True),
    "group": message(group={"a": 1}, group_index="x"),
    "long id": message(id="x" * 100_000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_message_known_to_be_harmful_does_no_harm(name: str, target: Target) -> None:
    for _ in range(SLOTS):
        target.put(HOSTILE[name])
    target.assert_well()


@pytest.mark.parametrize(
    "properties",
    [
        b"\x20\x00" + b"\x00\x00\x00\x0b" + b"\x01tT" + b"\xff" * 8,
        b"\x80\x00" + b"\x02\xff\xfe",
        b"\x00\x40" + b"\xff" * 8,
    ],
    ids=["a header's time", "content type", "time"],
)
def test_properties_that_the_client_cannot_read_do_no_harm(
    properties: bytes, target: Target
) -> None:
    if target.is_redis:
        pytest.skip("Redis has no such properties")
    target.raw(properties)
    target.assert_well()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text("xé\0{", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["task", "args", "kwargs", "x", "__type__"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
HEADERS = [
    *("task", "id", "root_id", "parent_id", "group", "group_index", "retries", "eta", "expires"),
    *("shadow", "timelimit", "lang", "origin", "argsrepr", "kwargsrepr", "compression", "meth"),
    *(
        "stamps",
        "stamped_headers",
        "ignore_result",
        "replaced_task_nesting",
        "redelivered",
        "chord",
    ),
]
FIELDS = ["body", "content-type", "content-encoding", "headers", "properties"]
PROPERTIES = ["delivery_info", "delivery_tag", "priority", "body_encoding", "correlation_id"]
AFTER = ["callbacks", "errbacks", "chain", "chord"]


@st.composite
def hostile(draw: st.DrawFn) -> dict[str, Any]:
    """A message of which one part is anything."""
    made, anything = message(), draw(JSON)
    match draw(st.sampled_from(["header", "field", "property", "body", "after", "missing"])):
        case "header":
            made["headers"][draw(st.sampled_from(HEADERS))] = anything
        case "field":
            made[draw(st.sampled_from(FIELDS))] = anything
        case "property":
            made["properties"][draw(st.sampled_from(PROPERTIES))] = anything
        case "body":
            made |= with_body(anything)
        case "after":
            after = {draw(st.sampled_from(AFTER)): anything}
            made |= with_body([[STATE], {"ticket": TICKET}, after])
        case _:
            del made[draw(st.sampled_from(FIELDS))]
    return made


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@over(
    some=st.lists(hostile(), min_size=SLOTS, max_size=20),
    garbage=st.lists(st.binary(max_size=9), max_size=3),
)
def test_no_message_blocks_a_slot(
    some: list[dict[str, Any]], garbage: list[bytes], target: Target
) -> None:
    for made in some:
        target.put(made)
    for raw in garbage if target.is_redis else []:
        target.raw(raw)  # RabbitMQ accepts only well-formed messages
    target.assert_well()


def test_a_flood_of_refused_messages_logs_few_lines(target: Target) -> None:
    target.log.lines.clear()
    for _ in range(1_000):
        target.put(HOSTILE["another app's"])
    target.assert_well()

    def refused() -> list[str]:
        return [line for line in target.log.lines if "refused message" in line]

    def is_summed_up() -> bool:
        target.put(HOSTILE["another app's"])  # the last line may have been just before the flood
        return any("more like it" in line for line in refused())

    until(is_summed_up, within=120, otherwise=lambda: str(target.log.lines))
    assert len(refused()) < 30
    assert target.backend.queue in refused()[-1]
    assert "give each app a queue of its own" in refused()[-1]
    assert max(map(len, target.log.lines)) < 1_000


def test_invalid_remote_control_commands_do_no_harm(target: Target, valkey: Valkey) -> None:
    if not target.is_redis:
        pytest.skip("RabbitMQ checks who may publish")
    redis: Any = Redis.from_url(valkey.url)
    for command in (b"x", b"5", b"[]", b"{}", nested(100_000), json.dumps(message()).encode()):
        assert redis.publish("/0.celery.pidbox", command)
    redis.close()
    target.assert_well()
    assert len(target.backend.diagnose().unwrap().workers) == 1
    assert run(inc(1), on=target.backend, timeout=120) == Success(2)
