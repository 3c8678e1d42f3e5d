"""An attacker who can write to the broker and the ledger, but has no signing key, fails."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given as over
from hypothesis import strategies as st
from msgspec import Raw
from redis import Redis
from returns.result import Result, Success

from onward import (
    Call,
    Catalog,
    Constant,
    Flow,
    Misconfigured,
    Ref,
    Retry,
    Signal,
    awaits,
    calls,
    connect,
    each,
    given,
    keep,
    result,
    resume,
    run,
    send,
    sleep,
    submit,
    submit_all,
    task,
    tee,
    together,
)
from onward.backends.celery import celery, lower
from onward.backends.celery.backend import CeleryBackend
from onward.backends.celery.canvas import Canvas
from onward.backends.celery.held import decode, encode
from onward.backends.celery.message import Continuing, decode_step
from onward.backends.celery.reconciler import reconcile
from onward.backends.celery.signing import MIN_KEY_SIZE, SIGNATURE_SIZE, Signer
from onward.backends.celery.submit import TaskMessage
from onward.fault import Fault, Lost
from tests.engines.process import until
from tests.engines.valkey import Valkey

OLD, NEW = b"o" * MIN_KEY_SIZE, b"n" * MIN_KEY_SIZE
SECRET = "s3cret" * 6
WAIT = 1_000_000
"""Many days, in seconds."""

GO = Signal("go", int)

QUEUES = ["onward", *(f"onward\x06\x16{priority}" for priority in range(1, 10))]
"""One for each priority, as Celery names them."""

Message: TypeAlias = dict[str, Any]


@task
def note(word: str, trace: str) -> str:
    """Writes a word to a file, and returns it."""
    with Path(trace).open("a") as file:
        file.write(f"{word}\n")
    return word


@task
def shout(word: str) -> str:
    return word.upper()


@task(retry=Retry(attempts=2, backoff=Constant(WAIT)))
def stumble() -> int:
    raise OSError("always")


@task
def count(pair: tuple[str, int]) -> int:
    return len(pair[0]) + pair[1]


@task
def spell(number: int) -> list[str]:
    return list(str(number))


CATALOG = Catalog(note, shout, stumble, spell, count)


@contextmanager
def closing(backend: CeleryBackend) -> Iterator[CeleryBackend]:
    try:
        yield backend
    finally:
        backend.close()


@contextmanager
def working(url: str, keys: Sequence[bytes] | None) -> Iterator[CeleryBackend]:
    """The backend of a running worker."""
    with closing(celery(url, signing_keys=keys)) as backend:
        worker = backend.serve(CATALOG).unwrap()
        try:
            yield backend
        finally:
            worker.stop()


def database(valkey: Valkey, number: int) -> str:
    return f"{valkey.url.rpartition('/')[0]}/{number}"


@pytest.fixture
def url(valkey: Valkey) -> str:
    """The URL of an empty database that no other test module uses."""
    url = database(valkey, 11)
    with Redis.from_url(url) as redis:
        redis.flushdb()
    return url


@pytest.fixture
def redis(url: str) -> Iterator[Any]:
    with Redis.from_url(url) as redis:
        yield redis


@pytest.fixture
def client(url: str) -> Iterator[CeleryBackend]:
    with closing(celery(url, signing_keys=[NEW])) as client:
        yield client


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    return tmp_path / "trace"


def noted(trace: Path) -> Call[str]:
    return given(note, str(trace))("true")


def take_message(redis: Any) -> tuple[str, Message]:
    """Removes the only message from the queues; returns its queue and the message."""
    [(queue, message)] = take_messages(redis)
    return queue, message


def take_messages(redis: Any) -> list[tuple[str, Message]]:
    found = [(queue, json.loads(raw)) for queue in QUEUES for raw in redis.lrange(queue, 0, -1)]
    redis.delete(*QUEUES)
    return found


def put(redis: Any, queue: str, message: Message) -> None:
    redis.lpush(queue, json.dumps(message))


def body(message: Message) -> list[Any]:
    read: list[Any] = json.loads(base64.b64decode(message["body"]))
    return read


def with_body(message: Message, body: object) -> Message:
    return message | {"body": base64.b64encode(json.dumps(body).encode()).decode()}


def renamed(message: Message, name: str) -> Message:
    return message | {"headers": message["headers"] | {"task": name}}


def refusal(caplog: pytest.LogCaptureFixture, why: str) -> None:
    """Waits until a worker logs that it refused a message."""
    until(lambda: why in caplog.text, within=120, otherwise=lambda: f"no {why!r}: {caplog.text}")


def ended(client: CeleryBackend, ref: Ref[Any]) -> Result[Any, Fault]:
    return result(ref, on=client, timeout=120)


# Messages


def with_another_task(message: Message) -> Message:
    return renamed(message, shout.name)


def as_a_gather(message: Message) -> Message:
    args, *rest = body(message)
    return renamed(with_body(message, [[args], *rest]), lower.GATHER)


def as_a_task_that_is_unknown_here(message: Message) -> Message:
    return renamed(message, "nobody")


def as_a_pass_for_a_known_task(message: Message) -> Message:
    changed = renamed(message, lower.PASS)
    return changed | {"headers": changed["headers"] | {"onward_asked": note.name}}


def with_another_argument(message: Message) -> Message:
    args, kwargs, embed = body(message)
    return with_body(
        message, [args, {"ticket": kwargs["ticket"].replace("trace", "forged")}, embed]
    )


def with_another_call(message: Message) -> Message:
    args, kwargs, embed = body(message)
    ticket = kwargs["ticket"].replace(message["headers"]["root_id"], "0" * 32)
    return with_body(message, [args, {"ticket": ticket}, embed])


def with_another_value(message: Message) -> Message:
    [state], kwargs, embed = body(message)
    return with_body(message, [[state.replace("true", "forged")], kwargs, embed])


def with_the_value_of_another_place(message: Message) -> Message:
    """The message of the next step, with the value for this one."""
    args, _, embed = body(message)
    after = embed["chain"].pop()
    return renamed(with_body(message, [args, after["kwargs"], embed]), after["task"])


def without_signatures(message: Message) -> Message:
    [state], kwargs, embed = body(message)
    return with_body(
        message, [[state[SIGNATURE_SIZE:]], {"ticket": kwargs["ticket"][SIGNATURE_SIZE:]}, embed]
    )


def with_no_text(message: Message) -> Message:
    _, _, embed = body(message)
    return with_body(message, [[{}], {"ticket": 1}, embed])


def with_a_broken_text(message: Message) -> Message:
    args, kwargs, embed = body(message)
    return with_body(message, [args, {"ticket": kwargs["ticket"] + "\ud800"}, embed])


@pytest.mark.parametrize(
    "forged",
    [
        *(with_another_task, as_a_gather, as_a_pass_for_a_known_task),
        as_a_task_that_is_unknown_here,
        *(with_another_argument, with_another_call, with_another_value),
        *(with_the_value_of_another_place, without_signatures, with_no_text, with_a_broken_text),
    ],
)
def test_a_changed_message_is_refused_and_its_call_succeeds(
    forged: Callable[[Message], Message],
    url: str,
    redis: Any,
    client: CeleryBackend,
    trace: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ref = submit((given(note, str(trace)) >> shout)("true"), on=client).unwrap()
    queue, message = take_message(redis)
    put(redis, queue, forged(message))
    with working(url, [NEW]) as worker:
        refusal(caplog, "refused message")
        reconcile(worker, patience=0)
        assert ended(client, ref) == Success("TRUE")
    assert trace.read_text() == "true\n"
    assert [path.name for path in trace.parent.iterdir()] == ["trace"]


def test_a_value_of_another_call_is_refused(
    url: str, redis: Any, client: CeleryBackend, trace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    submit(given(note, str(trace))("another"), on=client).unwrap()
    _, another = take_message(redis)
    ref = submit(noted(trace), on=client).unwrap()
    queue, message = take_message(redis)
    put(redis, queue, with_body(message, [body(another)[0], *body(message)[1:]]))
    with working(url, [NEW]) as worker:
        refusal(caplog, "a value has no valid signature for this task")
        reconcile(worker, patience=0)
        assert ended(client, ref) == Success("true")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_values_of_branches_in_another_order_or_number_are_refused(
    count: int, url: str, redis: Any, client: CeleryBackend, caplog: pytest.LogCaptureFixture
) -> None:
    ref = submit(together(shout, shout >> shout)("a"), on=client).unwrap()
    queue, message = next(each for each in take_messages(redis) if body(each[1])[2]["chord"])
    gather = body(message)[2]["chord"]
    left, right = decode_step(gather["kwargs"]["ticket"][SIGNATURE_SIZE:].encode()).takes
    states = [
        client.canvas.signed_state(Continuing(Raw(b'"A"')), ref.id, at)
        for at in (right, left, left)
    ]
    forged = with_body(message, [[states[:count]], gather["kwargs"], {}])
    put(redis, queue, renamed(forged, lower.GATHER))
    with working(url, [NEW]):
        why = "a value has no valid signature" if count == 2 else "does not have the values"
        refusal(caplog, why)


def test_a_repeated_message_runs_once(
    url: str, redis: Any, client: CeleryBackend, trace: Path
) -> None:
    ref = submit(noted(trace), on=client).unwrap()
    queue, message = take_message(redis)
    put(redis, queue, message)
    with working(url, [NEW]) as worker:
        assert ended(client, ref) == Success("true")
        for _ in range(3):
            put(redis, queue, message)
        # The queue is first in, first out, so this call runs after the repeated messages.
        assert run(shout("done"), on=worker) == Success("DONE")
    assert trace.read_text() == "true\n"


def test_a_message_with_an_expired_signature_is_refused_and_its_call_sent_again(
    url: str, client: CeleryBackend, trace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client.canvas = Canvas(
        client.app, client.queue, client.ledger.now, Signer([NEW], lifetime=-1.0)
    )
    ref = submit(noted(trace), on=client).unwrap()
    with working(url, [NEW]) as worker:
        refusal(caplog, "its signature has expired")
        reconcile(worker, patience=0)
        assert ended(client, ref) == Success("true")
    assert trace.read_text() == "true\n"


def test_a_delayed_message_without_a_signature_is_refused_at_once(
    url: str, redis: Any, client: CeleryBackend, trace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    submit(noted(trace), on=client).unwrap()
    queue, message = take_message(redis)
    eta = {"eta": datetime.fromtimestamp(time.time() + WAIT, UTC).isoformat()}
    put(redis, queue, without_signatures(message | {"headers": message["headers"] | eta}))
    with working(url, [NEW]):
        refusal(caplog, "it is not signed for this task")
        until(lambda: not redis.hlen("unacked"), within=120, otherwise=lambda: "it is held")


def plan_until(redis: Any, id: str) -> float:
    """Until when the plan of a call may be sent."""
    signed = redis.hget(f"onward:{id}", "plan")
    return float(signed[SIGNATURE_SIZE:].partition(b" ")[0])


def test_a_signature_lasts_longer_for_a_delayed_call(client: CeleryBackend, redis: Any) -> None:
    before = time.time()
    ref = submit(shout("later"), on=client, delay=WAIT).unwrap()
    assert plan_until(redis, ref.id) > before + WAIT


def held_message(redis: Any, id: str) -> list[Any]:
    """The body of the message that the ledger holds of a call."""
    until(lambda: redis.hlen(f"onward:{id}:held") == 1, within=120, otherwise=lambda: "none")
    [signed] = redis.hvals(f"onward:{id}:held")
    held: list[Any] = json.loads(decode(signed[SIGNATURE_SIZE:]).body)
    return held


def ticket_until(ticket: str) -> float:
    return decode_step(ticket[SIGNATURE_SIZE:].encode()).until


def test_signatures_last_longer_for_a_delayed_retry_and_all_that_follows(
    url: str, redis: Any, client: CeleryBackend
) -> None:
    before = time.time()
    ref = submit((stumble >> spell >> each(shout))(), on=client).unwrap()
    with working(url, [NEW]):
        _, kwargs, after = held_message(redis, ref.id)
    tickets = [kwargs["ticket"], *(each["kwargs"]["ticket"] for each in after["chain"])]
    assert len(tickets) == 3
    assert min(map(ticket_until, tickets)) > before + WAIT
    assert plan_until(redis, ref.id) > before + WAIT


@pytest.mark.parametrize(("wait", "lasts"), [(sleep(WAIT), WAIT), (awaits(GO), 100 * WAIT)])
def test_signatures_last_longer_for_a_wait_and_all_that_follows(
    wait: Flow[[object], object], lasts: float, url: str, redis: Any, client: CeleryBackend
) -> None:
    before = time.time()
    ref = submit((shout >> tee(wait) >> shout >> together(shout, shout))("a"), on=client).unwrap()
    with working(url, [NEW]):
        _, kwargs, after = held_message(redis, ref.id)
    tickets = [kwargs["ticket"], after["chord"]["kwargs"]["ticket"]]
    tickets += [each["kwargs"]["ticket"] for each in after["chord"]["options"]["chain"][1:]]
    assert len(tickets) == 3
    assert min(map(ticket_until, tickets)) > before + lasts
    assert plan_until(redis, ref.id) > before + lasts


def test_a_signed_call_waits_and_takes_only_signed_signals(
    url: str, redis: Any, client: CeleryBackend
) -> None:
    flow = shout >> sleep(0.1) >> tee(shout) >> keep(awaits(GO)) >> count
    with working(url, [NEW]):
        refs = submit_all([flow("a"), flow("b")], on=client).unwrap()
        assert send(refs[0], GO, 2, on=client) == Success(None)
        redis.hset(f"onward:{refs[1].id}:signals", "go", "2")
        assert ended(client, refs[0]) == Success(3)
        assert_distrusted(ended(client, refs[1]))


def test_a_held_message_without_a_signature_is_not_sent(
    url: str, redis: Any, client: CeleryBackend, trace: Path
) -> None:
    ref = submit(noted(trace), on=client).unwrap()
    _, message = take_message(redis)
    forged = TaskMessage("onward", 5, message["headers"], base64.b64decode(message["body"]))
    redis.hset(f"onward:{ref.id}:held", "0", encode(forged))
    redis.zadd("onward:due", {f"0 {ref.id}": 0.0})
    with working(url, [NEW]):
        until(lambda: not redis.zcard("onward:due"), within=120, otherwise=lambda: "it is due")
    assert take_messages(redis) == []
    assert not trace.exists()


# Keys


@pytest.mark.parametrize(
    ("clients", "workers"), [([OLD], [NEW, OLD]), ([NEW, OLD], [OLD, NEW]), ([NEW], [NEW])]
)
def test_keys_can_be_replaced_while_calls_are_in_flight(
    clients: list[bytes], workers: list[bytes], url: str, trace: Path
) -> None:
    with closing(celery(url, signing_keys=clients)) as client:
        ref = submit(noted(trace), on=client).unwrap()
        with working(url, workers) as worker:
            assert ended(worker, ref) == Success("true")


def test_signatures_of_a_removed_key_are_refused(
    url: str, trace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(celery(url, signing_keys=[OLD])) as client, working(url, [NEW]) as worker:
        ref = submit(noted(trace), on=client).unwrap()
        refusal(caplog, "it is not signed for this task with a key of this worker")
        reconcile(worker, patience=0)
        assert_distrusted(ended(client, ref))
        assert_unread(ended(worker, ref))
        assert [found.unwrap().ref.id for found in calls(on=worker, state="lost")] == [ref.id]
        assert_distrusted(resume(ref, on=worker))
    assert not trace.exists()
    with working(url, [NEW, OLD]) as worker:  # now it can be read
        assert ended(worker, resume(ref, on=worker).unwrap()) == Success("true")
    assert trace.read_text() == "true\n"


def test_a_call_without_a_signature_fails_with_a_reason(
    url: str, trace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(celery(url)) as client, working(url, [NEW]) as worker:
        ref = submit(noted(trace), on=client).unwrap()
        refusal(caplog, "it is not signed for this task with a key of this worker")
        reconcile(worker, patience=0)
        assert_distrusted(ended(client, ref))
    assert not trace.exists()


def test_a_signed_call_fails_at_once_with_a_reason_on_a_worker_without_keys(
    url: str, client: CeleryBackend, trace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with working(url, None) as worker:
        ref = submit(noted(trace), on=client).unwrap()
        refusal(caplog, "it is signed, and this worker has no signing keys")
        assert_distrusted(ended(client, ref))
        # The message itself ended the call, and not the reconciler later.
        assert_unread(ended(worker, ref))
        assert "a message of it cannot be read" in str(ended(worker, ref).failure())
    assert not trace.exists()
    with working(url, [NEW]) as worker:
        assert ended(worker, resume(ref, on=worker).unwrap()) == Success("true")


def assert_unread(outcome: Result[str, Fault]) -> None:
    fault = outcome.failure()
    assert isinstance(fault, Lost)
    assert "give clients and workers the same keys" in fault.message


def assert_distrusted(outcome: Result[object, Fault]) -> None:
    fault = outcome.failure()
    assert isinstance(fault, Misconfigured)
    assert fault.task == "signing_keys"
    assert "give clients and workers the same keys" in fault.message


# The ledger


def test_a_plan_that_was_changed_in_the_ledger_is_not_sent_again(
    redis: Any, client: CeleryBackend, trace: Path
) -> None:
    ref = submit(noted(trace), on=client).unwrap()
    take_message(redis)
    plan = redis.hget(f"onward:{ref.id}", "plan")
    for forged in (
        plan.replace(b"true", b"forged"),
        plan[SIGNATURE_SIZE:].replace(b"true", b"forged"),
    ):
        redis.hset(f"onward:{ref.id}", "plan", forged)
        assert reconcile(client, patience=0) == []
    assert_unread(ended(client, ref))


def test_a_plan_of_another_call_is_not_sent(redis: Any, client: CeleryBackend) -> None:
    refs = [submit(shout(word), on=client).unwrap() for word in "ab"]
    take_messages(redis)
    redis.hset(f"onward:{refs[0].id}", "plan", redis.hget(f"onward:{refs[1].id}", "plan"))
    assert reconcile(client, patience=0) == [refs[1].id]


def test_a_forged_outcome_of_a_step_is_ignored(
    url: str, redis: Any, client: CeleryBackend, trace: Path
) -> None:
    ref = submit(noted(trace), on=client).unwrap()
    redis.hset(f"onward:{ref.id}", "o:0", b'{"outcome":"value","raw":"forged"}')
    with working(url, [NEW]):
        assert ended(client, ref) == Success("true")
    assert trace.read_text() == "true\n"


def test_a_forged_outcome_of_a_call_is_refused(redis: Any, client: CeleryBackend) -> None:
    ref = submit(shout("true"), on=client).unwrap()
    outcome = b'{"outcome":"value","raw":"forged"}'
    redis.hset(f"onward:{ref.id}", mapping={"end": "done", "outcome": outcome})
    assert_distrusted(ended(client, ref))


# What a worker accepts


def test_only_json_is_accepted(client: CeleryBackend) -> None:
    settings = client.app.conf
    assert settings.accept_content == ["json"]
    assert settings.result_accept_content in (None, ["json"])
    assert (settings.task_serializer, settings.result_serializer) == ("json", "json")


@pytest.mark.parametrize("keys", [None, [NEW]])
def test_nothing_is_unpickled(
    keys: list[bytes] | None,
    url: str,
    redis: Any,
    trace: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Unpickling it would run a command. It is written by hand, so that nothing here pickles.
    pickled = f"cos\nsystem\n(S'touch {trace}'\ntR.".encode()
    with closing(celery(url, signing_keys=keys)) as client:
        submit(shout("true"), on=client).unwrap()
        queue, message = take_message(redis)
        message |= {"body": base64.b64encode(pickled).decode()}
        put(redis, queue, message | {"content-type": "application/x-python-serialize"})
        with working(url, keys) as worker:
            refusal(caplog, "only JSON is accepted")
            assert run(shout("done"), on=worker) == Success("DONE")
    assert not trace.exists()


@pytest.mark.parametrize("name", ["celery.map", "celery.starmap", "celery.chain", "celery.chord"])
def test_celerys_built_in_tasks_are_not_served(
    name: str,
    url: str,
    redis: Any,
    client: CeleryBackend,
    caplog: pytest.LogCaptureFixture,
) -> None:
    submit(shout("true"), on=client).unwrap()
    queue, message = take_message(redis)
    put(redis, queue, renamed(message, name))
    with working(url, [NEW]):
        refusal(caplog, f"refused message {message['headers']['id']!r}")


# Secrets


def test_keys_are_not_shown(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ONWARD_SIGNING_KEYS", f"{SECRET},{SECRET * 2}")
    backend = connect(f"celery+{url}").unwrap()
    assert isinstance(backend, CeleryBackend)
    with closing(backend):
        run(shout("true"), on=backend, timeout=0.1)
        shown = f"{backend!r} {vars(backend)} {vars(backend.canvas)} {vars(backend.ledger)}"
    assert repr(backend.signer) == "Signer(2 keys)"
    assert SECRET not in shown + caplog.text


@pytest.mark.parametrize(
    "keys", [SECRET[: MIN_KEY_SIZE - 1], f"{SECRET},short", f"{SECRET} , {'x' * 31}"]
)
def test_a_short_key_is_refused_without_showing_it(
    keys: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONWARD_SIGNING_KEYS", keys)
    fault = connect(f"celery+{url}").failure()
    assert f"and needs {MIN_KEY_SIZE} or more: make one with python" in fault.message
    assert not any(key.strip() in str(fault) for key in keys.split(","))


@pytest.mark.parametrize("keys", ["", " ", ","])
def test_an_empty_setting_of_keys_is_refused(
    keys: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONWARD_SIGNING_KEYS", keys)
    assert "there is no signing key" in connect(f"celery+{url}").failure().message


def test_a_key_has_no_place_in_a_url(url: str) -> None:
    message = connect(f"celery+{url}?signing_keys={SECRET}").failure().message
    assert "signing_keys has no place in a URL: set ONWARD_SIGNING_KEYS" in message
    assert SECRET not in message


@pytest.mark.parametrize("keys", [SECRET, SECRET.encode(), [SECRET]])
def test_keys_are_a_sequence_of_bytes(keys: Any) -> None:
    with pytest.raises(TypeError, match="signing keys are a sequence of bytes") as raised:
        celery("memory://", signing_keys=keys)
    assert SECRET not in str(raised.value)


# Signatures

TEXTS = st.lists(st.text(max_size=3), max_size=3)


@over(st.binary(max_size=5), TEXTS, st.binary(max_size=5), TEXTS)
def test_a_signature_is_valid_only_for_these_bytes_in_this_role(
    raw: bytes, role: list[str], other: bytes, other_role: list[str]
) -> None:
    signer = Signer([NEW])
    signed = signer.sign(raw, *role)
    assert signer.verify(signed, *role) == raw
    moved = signed[:SIGNATURE_SIZE] + other
    is_same = (raw, role) == (other, other_role)
    assert signer.verify(moved, *other_role) == (other if is_same else None)


@pytest.mark.parametrize(
    "signed", [b"", b"{}", b"0" * SIGNATURE_SIZE, b"\xff" * (SIGNATURE_SIZE + 1)]
)
def test_an_invalid_signature_is_refused(signed: bytes) -> None:
    assert Signer([NEW]).verify(signed, "plan") is None
