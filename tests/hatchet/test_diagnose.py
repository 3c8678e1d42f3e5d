"""The diagnosis of an engine and its workers, which shows no secret."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from returns.result import Failure, Result

from onward import Catalog, submit, task
from onward.backend import Diagnosis, Finding
from onward.backends.hatchet import HatchetBackend, hatchet
from onward.fault import Fault, Misconfigured, Unavailable
from tests.engines.process import until
from tests.engines.server import HOST
from tests.hatchet.double import Double
from tests.hatchet.served import PATIENCE, Engine, backend_on, fresh, serving

SECRET = "a-signature-that-is-not-the-engine-s"


@task
def inc(n: int) -> int:
    return n + 1


@task(queue="far")
def double(n: int) -> int:
    return 2 * n


@task(name="Loud")
def loud(text: str) -> str:
    return text.upper()


@pytest.fixture(scope="module")
def served(engine: Engine) -> Iterator[HatchetBackend]:
    """A backend with a worker."""
    catalog = Catalog(inc, (inc >> double).named("both"), loud)
    with serving(engine, catalog, namespace=fresh()) as backend:
        yield backend


def look(backend: HatchetBackend) -> Diagnosis:
    return backend.diagnose().unwrap()


def told(seen: Diagnosis) -> dict[str, Finding]:
    return {each.what: each for each in seen.findings}


def waits(backend: HatchetBackend) -> dict[str, bool]:
    """The findings about waiting steps, and whether each is wrong."""
    found = look(backend).findings
    return {each.text: each.is_wrong for each in found if each.what == "waiting"}


def until_waits(backend: HatchetBackend, expected: dict[str, bool]) -> None:
    until(
        lambda: waits(backend) == expected,
        within=PATIENCE,
        otherwise=lambda: f"it is {waits(backend)}",
    )


def secret_of(engine: Engine) -> str:
    """A part of the token that is long enough to be unique."""
    return engine.client_environment["HATCHET_CLIENT_TOKEN"].split(".")[1]


def test_a_worker_with_two_registrations_is_one_worker(served: HatchetBackend) -> None:
    [worker] = look(served).workers
    assert worker.name.startswith("onward-")
    assert worker.name.endswith(f"-{os.getpid()}")
    assert worker.queues == frozenset({"onward", "far"})
    assert worker.tasks == frozenset({"inc", "double", "loud"})  # Hatchet ignores capitals


def test_workers_of_other_namespaces_are_left_out(engine: Engine, served: HatchetBackend) -> None:
    assert look(served).workers
    backend = backend_on(engine, namespace=fresh())
    assert look(backend).workers == ()
    backend.close()


def test_waiting_steps_are_counted_by_task(served: HatchetBackend) -> None:
    submit(inc.with_(queue="nowhere")(1), on=served).unwrap()
    until_waits(served, {"1 steps of inc wait": False})


def test_without_a_namespace_only_its_own_steps_are_counted(engine: Engine) -> None:
    """With a namespace, steps of another one with a longer name do not count either."""
    first, second = fresh(), fresh()
    for namespace in (first, f"{first}_{second}"):
        with serving(engine, Catalog(inc), namespace=namespace) as backend:
            submit(inc.with_(queue="nowhere")(1), on=backend).unwrap()
    with serving(engine, Catalog(inc), namespace=first) as backend:
        until_waits(backend, {"1 steps of inc wait": False})
    with contextlib.closing(backend_on(engine)) as backend:
        assert not [text for text in waits(backend) if first in text or second in text]


def test_a_stopped_worker_is_gone_and_steps_that_wait_for_it_are_wrong(
    engine: Engine,
) -> None:
    namespace = fresh()
    with serving(engine, Catalog(inc), namespace=namespace) as backend:
        assert len(look(backend).workers) == 1
    backend = backend_on(engine, namespace=namespace)
    assert look(backend).workers == ()
    submit(inc(1), on=backend).unwrap()
    until_waits(backend, {"1 steps of inc wait, and no worker serves them": True})
    backend.close()


def test_the_diagnosis_has_versions_credentials_and_the_clock(engine: Engine) -> None:
    backend = backend_on(engine, namespace=fresh())
    seen = look(backend)
    backend.close()
    found = told(seen)
    assert found["SDK"].text.startswith("hatchet-sdk 1.")
    assert found["server"].text.startswith("Hatchet 0")
    assert found["credentials"].text.startswith("a token that ")
    assert found["credentials"].text.endswith("; no TLS")
    assert found["HTTP API"].text.endswith(" is reached")
    assert not any(each.is_wrong for each in seen.findings)
    assert seen.clock is not None
    assert abs(seen.clock) < 60  # as exact as the request was quick
    assert secret_of(engine) not in repr(seen)


def test_without_the_http_api_the_diagnosis_has_the_rest_and_a_cure(engine: Engine) -> None:
    backend = backend_on(engine, server_url=f"http://{HOST}:1")
    seen = look(backend)
    backend.close()
    api = told(seen)["HTTP API"]
    assert api.is_wrong
    assert f"http://{HOST}:1" in api.text
    assert "HATCHET_CLIENT_SERVER_URL" in api.cure
    assert told(seen)["server"].text.startswith("Hatchet ")
    assert not seen.tells_workers


def test_a_foreign_http_api_is_distinguished_from_an_unreachable_one() -> None:
    with Double() as engine, Double() as other:
        url = f"{other.client_environment['HATCHET_CLIENT_SERVER_URL']}/elsewhere"
        backend = backend_on(engine, server_url=url)
        seen = look(backend)
        backend.close()
    assert " answers 501" in told(seen)["HTTP API"].text


@pytest.mark.parametrize(("status", "says"), [(200, "is not Hatchet"), (520, "answers 520")])
def test_a_server_without_hatchets_http_api_is_reported(status: int, says: str) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - likewise
            pass

    with Double() as engine, HTTPServer((HOST, 0), Page) as pages:
        serving_pages = threading.Thread(target=pages.serve_forever)
        serving_pages.start()
        environment = engine.client_environment
        backend = hatchet(
            environment["HATCHET_CLIENT_TOKEN"],
            environment["HATCHET_CLIENT_HOST_PORT"],
            server_url=f"http://{HOST}:{pages.server_port}",
            tls=False,
        )
        seen = look(backend)
        backend.close()
        pages.shutdown()
        serving_pages.join()
    assert says in told(seen)["HTTP API"].text


def test_a_token_that_will_soon_expire_is_reported_and_not_shown() -> None:
    with Double(expires=time.time() + 3600) as engine:
        backend = backend_on(engine)
        seen = look(backend)
        backend.close()
    credentials = told(seen)["credentials"]
    assert "expires on 2" in credentials.text
    assert "make another" in credentials.cure
    assert not credentials.is_wrong
    assert secret_of(engine) not in repr(seen)


def test_an_expired_token_is_reported_and_not_shown() -> None:
    old = Double(expires=time.time() - 3600)
    with Double() as engine:
        target = engine.client_environment["HATCHET_CLIENT_HOST_PORT"]
        backend = hatchet(old.client_environment["HATCHET_CLIENT_TOKEN"], target, tls=False)
        answer = backend.diagnose()
        backend.close()
    assert isinstance(answer, Failure)
    fault = answer.failure()
    assert isinstance(fault, Misconfigured)
    assert "the token expired on 2" in fault.message
    assert secret_of(old) not in repr(fault)


def test_a_refused_token_is_reported_and_not_shown(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    given = engine.client_environment
    token = f"{given['HATCHET_CLIENT_TOKEN'].rpartition('.')[0]}.{SECRET}"
    where = given["HATCHET_CLIENT_HOST_PORT"]
    is_tls = given.get("HATCHET_CLIENT_TLS_STRATEGY") != "none"
    with contextlib.closing(hatchet(token, where, tls=is_tls)) as backend:
        asked: tuple[Result[object, Fault], ...] = (
            backend.diagnose(),
            submit(inc(1), on=backend),
            backend.serve(Catalog(inc)),
        )
    for fault in (answer.failure() for answer in asked):
        assert isinstance(fault, Unavailable)
        assert "Hatchet does not accept the token" in fault.message
        assert SECRET not in repr(fault)
    assert SECRET not in caplog.text
