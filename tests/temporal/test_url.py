"""`temporal://host:port/namespace`: what it configures, what it refuses, and what it hides."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from returns.result import Success
from temporalio.service import TLSConfig

from onward import Misconfigured, Unavailable, connect, run, submit
from onward.backends.temporal import TemporalBackend, temporal
from tests.engines.temporal import Temporal
from tests.temporal.served import inc

SECRET = "s3cret-api-key"


def at(url: str) -> TemporalBackend:
    """The backend for a URL."""
    found = connect(url).unwrap()
    assert isinstance(found, TemporalBackend)
    return found


def address(url: str) -> tuple[str, str, str, float]:
    found = at(url).address
    return found.target, found.namespace, found.task_queue, found.heartbeat


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("temporal://", ("localhost:7233", "default", "onward", 10.0)),
        ("temporal://example.org", ("example.org:7233", "default", "onward", 10.0)),
        ("temporal://example.org:1/", ("example.org:1", "default", "onward", 10.0)),
        ("TEMPORAL://example.org/team.abc12", ("example.org:7233", "team.abc12", "onward", 10.0)),
        ("temporal://h/a%20b?task_queue=q&heartbeat=2.5", ("h:7233", "a b", "q", 2.5)),
    ],
)
def test_a_url_configures_the_backend(url: str, expected: tuple[str, str, str, float]) -> None:
    assert address(url) == expected


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("temporal://h?taskqueue=q", "did you mean 'task_queue'?"),
        ("temporal://h?task_queue=", "queue"),
        ("temporal://h?task_queue=a%20b", "queue"),
        ("temporal://h?heartbeat=soon", "heartbeat is a number"),
        ("temporal://h?heartbeat=0", "heartbeat is from 1"),
        ("temporal://h?heartbeat=nan", "heartbeat is from 1"),
        ("temporal://h?tls=yes", "tls is true or false"),
        ("temporal://h?tls=false&tls_ca=ca.pem", "leave one of them out"),
        ("temporal://h?tls_ca=/nowhere/ca.pem", "tls_ca: /nowhere/ca.pem cannot be read"),
        ("temporal://h?api_key=abc", "api_key has no place in a URL: set TEMPORAL_API_KEY"),
        ("temporal://h:99999", "port"),
        ("temporal://h?task_queue=a&task_queue=b", "twice"),
    ],
)
def test_a_mistake_in_a_url_is_a_fault_that_names_it(url: str, word: str) -> None:
    fault = connect(url).failure()
    assert isinstance(fault, Misconfigured)
    assert word in fault.message


@pytest.mark.parametrize(
    "url", [f"temporal://me:{SECRET}@h", f"temporal://{SECRET}@h", f"temporal://h#@{SECRET}"]
)
def test_a_password_is_refused_and_not_shown(url: str) -> None:
    fault = connect(url).failure()
    assert SECRET not in str(fault)
    assert SECRET not in repr(fault)


def test_an_api_key_comes_from_the_environment_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPORAL_API_KEY", f"{SECRET}\n")  # like the content of a file
    backend = at("temporal://127.0.0.1:1/ns")
    assert backend.address.api_key == SECRET
    for shown in (repr(backend), str(backend), repr(backend.address), repr(vars(backend))):
        assert SECRET not in shown
    fault = submit(inc(1), on=backend).failure()  # nobody listens there
    assert isinstance(fault, Unavailable)
    assert SECRET not in repr(fault)
    backend.close()


def test_headers_are_never_shown() -> None:
    backend = temporal("h", rpc_metadata={"authorization": SECRET})
    assert SECRET not in repr(backend) + repr(vars(backend)) + repr(backend.address)


@pytest.mark.parametrize(("url", "tls"), [("", None), ("?tls=true", True), ("?tls=false", False)])
def test_tls_is_on_or_off_or_depends_on_the_api_key(url: str, tls: bool | None) -> None:
    assert at(f"temporal://h{url}").address.tls is tls


def test_tls_reads_its_files(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / f"{name}.pem").write_text(f"the {name}")
    query = "&".join(f"tls_{name}={tmp_path}/{name}.pem" for name in ("ca", "cert", "key"))
    tls = at(f"temporal://h?{query}&tls_server_name=inner").address.tls
    assert isinstance(tls, TLSConfig)
    assert tls.server_root_ca_cert == b"the ca"
    assert tls.client_cert == b"the cert"
    assert tls.client_private_key == b"the key"
    assert tls.domain == "inner"
    assert at(f"temporal://h?tls=true&{query}").address.tls is not None
    assert "the key" not in repr(at(f"temporal://h?{query}"))


def test_an_invalid_certificate_is_unavailable_and_not_an_exception(
    tmp_path: Path, temporal: Temporal
) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    backend = at(f"temporal://{temporal.address}?tls_ca={tmp_path}/ca.pem")
    assert isinstance(submit(inc(1), on=backend).failure(), Unavailable)
    backend.close()


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda: temporal(7), TypeError),  # type: ignore[arg-type]  # the mistake to refuse
        (lambda: temporal(""), ValueError),
        (lambda: temporal(port=0), ValueError),
        (lambda: temporal(port=True), TypeError),
        (lambda: temporal(namespace=""), ValueError),
        (lambda: temporal(task_queue="a b"), ValueError),
        (lambda: temporal(heartbeat=0.5), ValueError),
        (lambda: temporal(heartbeat=float("nan")), ValueError),
        (lambda: temporal(heartbeat=True), TypeError),
    ],
)
def test_a_wrong_argument_raises(wrong: Callable[[], object], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        wrong()


def test_an_unknown_namespace_is_misconfigured(temporal: Temporal) -> None:
    backend = at(f"temporal://{temporal.address}/nowhere")
    for call in (inc(1), (inc >> inc)(1)):
        assert isinstance(submit(call, on=backend).failure(), Misconfigured)
    backend.close()


def test_calls_run_on_a_backend_of_a_url(temporal: Temporal, backend: TemporalBackend) -> None:
    client = connect(f"{temporal.url}?task_queue=tests").unwrap()
    assert run((inc >> inc)(1), on=client, timeout=120) == Success(3)
    assert isinstance(client, TemporalBackend)
    client.close()


def test_configuring_imports_no_sdk() -> None:
    program = (
        "import sys; from onward.backends.temporal import config, temporal; "
        "print('temporalio' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
