"""A secret reaches its task on every engine, and nothing on the way shows it."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel, SecretStr, model_validator
from returns.result import Failure, Result, Success

from onward import (
    Backend,
    BadPayload,
    Catalog,
    Fault,
    Raised,
    Secret,
    check,
    each,
    explain,
    given,
    local,
    result,
    run,
    status,
    submit,
    task,
    together,
    work,
)
from onward.backends.celery import celery
from onward.backends.temporal import temporal as temporal_at
from onward.observe import observed
from onward.otel import OpenTelemetry
from onward.sealing import sealer_of, sealing
from tests.engines.process import until
from tests.engines.server import HOST
from tests.hatchet.double import Double
from tests.hatchet.served import backend_on, fresh

MARKER = f"s3cr3t{uuid.uuid4().hex}"
KEY = b"k" * 32


class Login(BaseModel):
    user: str
    password: SecretStr

    @model_validator(mode="after")
    def nobody(self) -> Login:
        if self.user == "nobody":
            raise ValueError("nobody may log in")
        return self


@dataclass(frozen=True)
class Denied:
    tried: Secret[str]


@task
def login(user: str, password: Secret[str]) -> Secret[str]:
    return Secret(f"{user}:{password.get_secret_value()}")


@task
def opened(token: Secret[str]) -> int:
    return len(token.get_secret_value())


@task
def keep(model: Login) -> Login:
    return model


@task
async def raises(password: Secret[str]) -> int:
    raise ValueError(f"no such password: {password}, {password!r}, {(password,)}")


@task
def denied(password: SecretStr) -> Result[int, Denied]:
    return Failure(Denied(Secret(password.get_secret_value())))


@task
def instead(error: Denied | Fault) -> int:
    return len(error.tried.get_secret_value()) if isinstance(error, Denied) else -1


CATALOG = Catalog(login, opened, keep, raises, denied, instead)


@contextmanager
def working(backend: Backend) -> Iterator[None]:
    stop = threading.Event()
    ended: list[Any] = []
    thread = threading.Thread(target=lambda: ended.append(work(CATALOG, on=backend, stop=stop)))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert ended == [Success(None)]


ENGINES = ("local", "memory", "redis", "rabbitmq", "temporal", "hatchet")


@contextmanager
def connected(engine: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A backend on an engine, without workers."""
    queue = uuid.uuid4().hex
    backend: Any = None
    if engine == "hatchet":
        with Double() as double, closing(backend_on(double, namespace=fresh())) as backend:
            yield backend
        return
    if engine == "local":
        backend = local()
    elif engine == "memory":
        backend = celery("memory://", queue=queue)
    elif engine == "temporal":
        port = request.getfixturevalue("temporal").port
        backend = temporal_at(HOST, port, task_queue=queue)
    else:
        redis = request.getfixturevalue("valkey").url
        broker = request.getfixturevalue("rabbitmq").url if engine == "rabbitmq" else redis
        backend = celery(broker, redis, queue=queue)
    with closing(backend):
        yield backend


@pytest.fixture(
    scope="module",
    params=[(engine, is_sealed) for engine in ENGINES for is_sealed in (False, True)],
    ids=lambda param: f"{param[0]}{', sealed' if param[1] else ''}",
)
def backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    engine, is_sealed = request.param
    if is_sealed:
        pytest.importorskip("cryptography")
    with connected(engine, request) as plain:
        chosen = sealing(plain, [KEY]) if is_sealed else plain
        with working(chosen):
            # Hatchet knows a task only after a worker has registered it.
            until(
                lambda: isinstance(submit(opened(Secret("")), on=chosen), Success),
                within=120,
                otherwise=lambda: "no worker serves the catalog",
            )
            yield chosen


def test_a_secret_arrives(backend: Any) -> None:
    model = Login(user="ann", password=SecretStr(MARKER))
    calls: list[tuple[Any, Any]] = [
        (login("ann", Secret(MARKER)), Secret(f"ann:{MARKER}")),
        ((given(login, Secret(MARKER)) >> opened)("ann"), 4 + len(MARKER)),
        (keep(model), model),
        (each(opened)([Secret("a"), Secret(MARKER)]), [1, len(MARKER)]),
        (together(opened, opened)(Secret(MARKER)), (len(MARKER), len(MARKER))),
        (denied.rescue(instead)(SecretStr(MARKER)), len(MARKER)),
    ]
    refs = [submit(call, on=backend).unwrap() for call, _ in calls]
    for ref, (_, value) in zip(refs, calls, strict=True):
        assert result(ref, on=backend, timeout=120) == Success(value)
    refused = run(denied(SecretStr(MARKER)), on=backend, timeout=120)
    assert refused == Failure(Denied(Secret(MARKER)))


def test_nothing_shows_a_secret(
    backend: Any, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    # At DEBUG the engines' SDKs log whole messages.
    caplog.set_level(logging.INFO if sealer_of(backend) is None else logging.DEBUG)
    spans, exporter = TracerProvider(), InMemorySpanExporter()
    spans.add_span_processor(SimpleSpanProcessor(exporter))
    on = observed(backend, OpenTelemetry(spans, MeterProvider()))
    shown: list[object] = []
    for call in (
        login("ann", Secret(MARKER)),
        given(login, password=Secret(MARKER))("ann"),
        (given(login, Secret(MARKER)) >> raises)("ann"),
        raises(Secret(MARKER)),
        denied(SecretStr(MARKER)),
        keep(Login.model_construct(user="nobody", password=SecretStr(MARKER))),
        keep(Login.model_construct(user=3, password=MARKER)),
    ):
        answer = run(call, on=on, timeout=120)
        ref = submit(call, on=on).map(lambda ref: (ref, status(ref, on=on)))
        shown += [call, call.flow, call.flow.name, answer, ref, check(call, on=on)]
        shown += [explain(call), explain(call, form="mermaid"), explain(call, on=on)]
        if isinstance(answer, Failure) and isinstance(answer.failure(), Fault):
            fault = answer.failure()
            assert isinstance(fault, Raised | BadPayload)
            shown += [str(fault), getattr(fault, "traceback", "")]
    shown += [span.to_json() for span in exporter.get_finished_spans()]
    shown += [caplog.text, *capsys.readouterr()]
    texts = [f"{each!r} {each}" for each in shown]
    assert not [text for text in texts if MARKER in text]
    assert "***" in repr(shown)


def test_secrets_in_redis_are_encrypted(valkey: Any) -> None:
    pytest.importorskip("cryptography")
    import redis

    marker = f"stored{uuid.uuid4().hex}"
    queue = uuid.uuid4().hex
    with closing(celery(valkey.url, queue=queue, signing_keys=[KEY])) as backend:
        waits = submit(
            (given(login, Secret(marker)) >> opened)("ann"), on=backend, delay=60
        ).unwrap()
        with working(backend):
            given_back = run(login("ann", Secret(marker)), on=backend, timeout=120)
        assert given_back.unwrap().get_secret_value() == f"ann:{marker}"
        assert status(waits, on=backend).unwrap().state == "queued"
    with closing(redis.Redis.from_url(valkey.url)) as client:
        stored = [str(client.dump(key)) for key in client.scan_iter()]
        assert stored
        assert not [each for each in stored if marker in each]
