"""The settings that `hatchet(...)` and a URL accept, and the mistakes that they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onward import connect
from onward.backends.hatchet import HatchetBackend, Tls, hatchet
from onward.backends.hatchet.token import Claims, claims

TOKEN = (
    "e30.eyJzdWIiOiAidGVuYW50IiwgInNlcnZlcl91cmwiOiAiaHR0cHM6Ly9hcHAudGVzdCIsICJncnBjX2Jyb2FkY2Fzd"
    "F9hZGRyZXNzIjogImdycGMudGVzdDo0NDMifQ.secret"
)


def test_a_token_says_where_the_engine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claims(TOKEN) == Claims("tenant", "https://app.test", "grpc.test:443")
    assert repr(hatchet(TOKEN)) == "hatchet('grpc.test:443')"
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", TOKEN)
    assert repr(hatchet()) == "hatchet('grpc.test:443')"
    assert repr(hatchet(host_port="localhost:7077")) == "hatchet('localhost:7077')"


@pytest.mark.parametrize(
    "token", ["", "secret", "a.secret.c", "e30.e30.secret", "é.é.secret", f"{TOKEN}\n"]
)
def test_an_invalid_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="not a Hatchet token") as caught:
        hatchet(token)
    assert "secret" not in str(caught.value)


def test_space_around_a_token_in_a_variable_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as a newline from a file, which gRPC would not accept."""
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", f"{TOKEN}\n")
    backend = connect("hatchet://").unwrap()
    assert isinstance(backend, HatchetBackend)
    assert backend.settings.address.token == TOKEN


def test_a_remote_engine_is_reached_over_tls_by_default(tmp_path: Path) -> None:
    """The token must not be sent unencrypted over a network."""

    def tls_of(host_port: str, tls: bool | Tls | None = None) -> Tls | None:
        return hatchet(TOKEN, host_port, tls=tls).settings.address.tls

    assert tls_of("engine.test:7077") == Tls()
    assert tls_of("localhost.test:7077") == Tls()
    for here in ("localhost:7077", "127.0.0.1:7077", "[::1]:7077"):
        assert tls_of(here) is None
        assert tls_of(here, True) == Tls()
    assert tls_of("engine.test:7077", False) is None
    file = tmp_path / "ca.pem"
    with pytest.raises(ValueError, match=r"ca\.pem"):
        tls_of("engine.test:7077", Tls(root_certificates=file))
    file.touch()
    assert tls_of("engine.test:7077", Tls(file)) == Tls(file)


@pytest.mark.parametrize(
    "wrong",
    [
        {"host_port": "localhost"},
        {"host_port": "http://localhost:7077"},
        {"namespace": "two words"},
        {"keep": 1.0},
        {"keep": float("nan")},
        {"lease": 1.0},
        {"lease": float("inf")},
        {"queue": ""},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        hatchet(TOKEN, **wrong)  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize(
    "wrong", [{"keep": "1"}, {"lease": True}, {"tls": "yes"}, {"host_port": 7077}], ids=str
)
def test_settings_of_the_wrong_type_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(TypeError):
        hatchet(TOKEN, **wrong)  # type: ignore[arg-type]  # on purpose


def test_the_sdk_is_imported_only_when_it_is_needed() -> None:
    code = (
        f"import sys; from onward.backends.hatchet import hatchet; hatchet({TOKEN!r}); "
        "print('hatchet_sdk' in sys.modules, 'grpc' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "False"]


def test_requests_without_an_engine_do_not_import_the_sdk() -> None:
    """The import takes seconds, and making a backend, `explain` and `check` do not need it."""
    code = (
        "import sys; from onward import check, connect, explain, task\n"
        "@task\n"
        "def inc(n: int) -> int: ...\n"
        "backend = connect('hatchet://127.0.0.1:1').unwrap()\n"
        "explain(inc >> inc, on=backend); check((inc >> inc)(1), on=backend); backend.close()\n"
        "print(sorted({'grpc', 'hatchet_sdk'} & set(sys.modules)))"
    )
    environment = {**os.environ, "HATCHET_CLIENT_TOKEN": TOKEN}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert done.stdout == "[]\n"
