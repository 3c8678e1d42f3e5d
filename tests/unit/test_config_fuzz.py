"""Whatever `connect` is given, it answers, and shows no password and no token."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Failure, Success

from onward import Misconfigured, Secret, connect, run, task
from onward.sealing import sealer_of

TOKEN = "eyJhbGciOiJIUzI1NiJ9s3cr3ts3cr3ts3cr3t"
SCHEMES = ["local", "celery+redis", "celery+rediss", "celery+amqp", "celery+memory", "temporal"]
SCHEMES += ["hatchet", "redis", "amqps", "", "1", "a b", "celery+", TOKEN]
PIECES = [TOKEN, "@", ":", "/", "//", "://", "?", "&", "=", "#", "%", "%40", "%zz", "[", "]", "::1"]
PIECES += ["localhost", "6379", "99999", "-1", "0", "queue", "task_queue", "tls", "heartbeat", "\0"]
PIECES += ["result_backend", "redis://", "\ud800", "é", " ", "\n", ".yaml", "..", "~", "x" * 300]


@pytest.fixture(autouse=True, scope="module")
def nothing_else_set() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(("ONWARD_", "CELERY_", "HATCHET_", "TEMPORAL_")):
                patch.delenv(name)
        yield


def refusal(source: Any) -> str:
    """What is said of it, or nothing where it makes a backend."""
    connected = connect(source)
    if isinstance(connected, Success):
        connected.unwrap().close()
        return ""
    fault = connected.failure()
    assert isinstance(fault, Misconfigured)
    for text in (str(fault), repr(fault), str(connected)):
        text.encode()  # it can be printed
        assert TOKEN not in text
        assert TOKEN.lower() not in text
    return str(fault)


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=8).map("".join))
@example(TOKEN * 10)
@example(f"user:{TOKEN * 8}@host:6379")
@example("a\0b")
@example(f"{TOKEN}.yaml")
@example("/" * 5000)
def test_any_text_is_answered(text: str) -> None:
    refusal(text)
    if "\0" not in text:
        refusal(Path(text))


@given(
    st.sampled_from(SCHEMES),
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
)
def test_any_url_is_answered(scheme: str, rest: str) -> None:
    refusal(f"{scheme}://{rest}")


@settings(max_examples=30)
@given(
    st.sampled_from([each for each in SCHEMES if each.startswith("celery+") and each[7:]]),
    st.sampled_from(["", "user"]),
    st.sampled_from([TOKEN, f"{TOKEN}#", f"a/{TOKEN}", f"{TOKEN}?x", f"[{TOKEN}", f"{TOKEN}@"]),
    st.booleans(),
    st.sampled_from(["", "/0", "/nothing", "?queue=a&b", "?keep=never"]),
)
def test_a_password_is_never_shown(
    scheme: str, user: str, password: str, is_encoded: bool, rest: str
) -> None:
    said = quote(password, safe="") if is_encoded else password
    url = f"{scheme}://{user}:{said}@localhost:6379{rest}"
    refusal(url)
    connected = connect(url)
    assert TOKEN not in f"{connected} {connected!r}"


@pytest.mark.parametrize("source", [b"local://", 5, ["local://"], object()])
def test_what_is_no_text_is_refused(source: Any) -> None:
    assert f"not {type(source).__name__}" in refusal(source)


@pytest.mark.parametrize("made", ["directory", "unreadable", "binary", "long"])
def test_any_file_is_answered(tmp_path: Path, made: str) -> None:
    file = tmp_path / "onward.yaml"
    if made == "directory":
        file.mkdir()
    elif made == "binary":
        file.write_bytes(bytes(range(256)))
    elif made == "long":
        file = tmp_path / (TOKEN * 20 + ".yaml")
    else:
        file = tmp_path / "missing.yaml"
    assert refusal(file)
    assert refusal(str(file))


def test_keys_for_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONWARD_SECRET_KEYS", f"{'a' * 32}, {'b' * 32}")
    for url in ("temporal://localhost", "celery+memory://", "hatchet://localhost"):
        monkeypatch.setenv("HATCHET_CLIENT_TOKEN", "e30.eyJzdWIiOiAiNzA3ZDA4NTUifQ.")
        assert repr(sealer_of(connect(url).unwrap())) == "Sealer(2 keys)"
    assert sealer_of(connect("local://").unwrap()) is None
    monkeypatch.setenv("ONWARD_SECRET_KEYS", "s3cr3t-but-short")
    fault = connect("temporal://localhost").failure()
    assert "32 or more" in fault.message
    assert "s3cr3t" not in str(fault)


@task
def length(password: Secret[str]) -> int:
    return len(password.get_secret_value())


def test_secrets_are_not_sent_where_there_is_nothing_to_seal_them_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONWARD_SECRET_KEYS", "a" * 32)
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.hashes", None)
    backend = connect("celery+memory://").unwrap()
    refused = run(length(Secret("x")), on=backend, timeout=1)
    assert isinstance(refused, Failure)
    assert 'pip install "onward[secrets]"' in str(refused.failure())
