"""`connect()` with the environment: the backend, or what is wrong."""

import os
from pathlib import Path

import pytest

from onward import connect
from onward.backends.celery.backend import CeleryBackend
from tests.unit.test_config_file import TOKEN

LEDGER = "redis://ledger:1/2"


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("ONWARD_", "CELERY_", "HATCHET_", "TEMPORAL_")):
            monkeypatch.delenv(name)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    for name, text in request.param.items():
        monkeypatch.setenv(name, text)


def with_file(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    path = folder / "onward.yaml"
    path.write_text(text)
    monkeypatch.setenv("ONWARD_CONFIG", str(path))


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"ONWARD_URL": "local://?workers=3"}, "local(workers=3)"),
        ({"ONWARD_URL": "local://?workers=3", "ONWARD_BACKEND": "local"}, "local(workers=3)"),
        ({"ONWARD_URL": "temporal://h", "TEMPORAL_ADDRESS": "other:1"}, "temporal('h:7233'"),
        ({"ONWARD_URL": "local://?workers=3", "CELERY_BROKER_URL": "x"}, "local(workers=3)"),
        ({"ONWARD_BACKEND": "local"}, "local("),
        ({"ONWARD_BACKEND": "local", "ONWARD_URL": "", "ONWARD_CONFIG": ""}, "local("),
        ({"ONWARD_BACKEND": "temporal"}, "temporal('localhost:7233', namespace='default'"),
        ({"TEMPORAL_ADDRESS": "h:1"}, "temporal('h:1', namespace='default'"),
        ({"TEMPORAL_ADDRESS": "h:1", "TEMPORAL_NAMESPACE": "n"}, "temporal('h:1', namespace='n'"),
        ({"TEMPORAL_ADDRESS": "h:1", "TEMPORAL_TLS": "TRUE"}, "temporal('h:1'"),
        ({"TEMPORAL_ADDRESS": "h:1", "TEMPORAL_TLS": ""}, "temporal('h:1'"),
        ({"TEMPORAL_ADDRESS": "h:1", "TEMPORAL_API_KEY": "key"}, "temporal('h:1'"),
        ({"TEMPORAL_ADDRESS": "h:1", "CELERY_BROKER_URL": ""}, "temporal('h:1'"),
        ({"CELERY_BROKER_URL": "redis://h"}, "celery(redis://...)"),
        ({"CELERY_BROKER_URL": "memory://"}, "celery(memory://...)"),
        ({"CELERY_BROKER_URL": "pyamqp://h", "CELERY_RESULT_BACKEND": LEDGER}, "celery(amqp://..."),
        ({"HATCHET_CLIENT_TOKEN": TOKEN}, "hatchet('app.example:443')"),
        (
            {
                "HATCHET_CLIENT_TOKEN": TOKEN,
                "HATCHET_CLIENT_HOST_PORT": "localhost:1",
                "HATCHET_CLIENT_TLS_STRATEGY": "none",
            },
            "hatchet('localhost:1')",
        ),
        (
            {
                "ONWARD_BACKEND": "celery",
                "CELERY_BROKER_URL": "redis://h",
                "TEMPORAL_ADDRESS": "h:1",
            },
            "celery(redis://...)",
        ),
    ],
    indirect=["environment"],
)
@pytest.mark.usefixtures("environment")
def test_the_environment_is_enough(shown: str) -> None:
    assert repr(connect().unwrap()).startswith(shown)


def test_a_file_of_the_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_file(tmp_path, monkeypatch, "backend: local\nlocal: {workers: 3}\n")
    assert repr(connect().unwrap()) == "local(workers=3)"
    monkeypatch.setenv("ONWARD_BACKEND", "local")
    assert repr(connect().unwrap()) == "local(workers=3)"


def test_a_file_of_another_backend_than_the_environment_s_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_file(tmp_path, monkeypatch, "backend: local\n")
    monkeypatch.setenv("ONWARD_BACKEND", "celery")
    assert "line 1: backend differs from ONWARD_BACKEND" in connect().failure().message


def test_what_is_passed_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_URL", "temporal://h")
    monkeypatch.setenv("ONWARD_BACKEND", "celery")
    assert repr(connect("local://?workers=3").unwrap()) == "local(workers=3)"


def test_celery_s_own_variables_say_broker_and_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "amqp://h//")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", LEDGER)
    backend = connect().unwrap()
    assert isinstance(backend, CeleryBackend)
    assert backend.app.conf.broker_url == "amqp://h//"
    assert backend.app.conf.result_backend == LEDGER


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "nothing names a backend: pass a URL or a file, or set ONWARD_URL"),
        ({"TEMPORAL_NAMESPACE": "n"}, "nothing names a backend"),
        (
            {"ONWARD_URL": "local://", "ONWARD_CONFIG": "onward.yaml"},
            "ONWARD_URL and ONWARD_CONFIG are both set: leave one of them out",
        ),
        (
            {"ONWARD_URL": "local://", "ONWARD_BACKEND": "celery"},
            "ONWARD_URL names another engine than ONWARD_BACKEND: leave one of them out",
        ),
        (
            {"CELERY_BROKER_URL": "redis://h", "TEMPORAL_ADDRESS": "h:1"},
            "CELERY_BROKER_URL and TEMPORAL_ADDRESS are set: choose one",
        ),
        ({"ONWARD_BACKEND": "selery"}, "there is no backend 'selery' (did you mean 'celery'?)"),
        ({"ONWARD_BACKEND": "celery+redis://h"}, "a URL goes into ONWARD_URL"),
        ({"ONWARD_BACKEND": "celery"}, "celery: broker_url is missing"),
        ({"ONWARD_BACKEND": "hatchet"}, "hatchet: token is missing: set HATCHET_CLIENT_TOKEN"),
        ({"CELERY_BROKER_URL": "amqp://h"}, "celery: RabbitMQ cannot keep the ledger of calls"),
        (
            {"CELERY_BROKER_URL": "amqp://h", "CELERY_RESULT_BACKEND": "rpc://"},
            "celery: result_backend must be a Redis",
        ),
        ({"TEMPORAL_ADDRESS": "http://h"}, "temporal: address is a host and a port"),
        (
            {"TEMPORAL_ADDRESS": "h:1", "TEMPORAL_TLS": "maybe"},
            "TEMPORAL_TLS is true or false: write TEMPORAL_TLS=true",
        ),
        (
            {
                "TEMPORAL_ADDRESS": "h:1",
                "TEMPORAL_TLS": "0",
                "TEMPORAL_TLS_SERVER_CA_CERT_PATH": "/ca",
            },
            "tls is false, but tls_ca is set",
        ),
        (
            {"TEMPORAL_ADDRESS": "h:1", "TEMPORAL_TLS_CLIENT_KEY_PATH": "/key"},
            "tls_cert and tls_key go together",
        ),
        (
            {"HATCHET_CLIENT_TOKEN": TOKEN, "HATCHET_CLIENT_TLS_STRATEGY": "mtls"},
            "tls_cert and tls_key go together",
        ),
    ],
    indirect=["environment"],
)
@pytest.mark.usefixtures("environment")
def test_an_invalid_environment_is_refused_with_what_to_set(says: str) -> None:
    fault = connect().failure()
    assert fault.task == "the environment"
    assert says in fault.message
