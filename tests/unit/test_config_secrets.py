"""No secret is ever shown, whichever way it comes in: whole, malformed, or in the wrong place."""

import base64
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from onward import connect

SECRET = "s3cret"
CLAIMS = base64.urlsafe_b64encode(
    json.dumps({"sub": "7", "grpc_broadcast_address": "h:1"}).encode()
).decode()
TOKEN = f"e30.{CLAIMS.rstrip('=')}.{SECRET}"
KEY = SECRET * 8


@pytest.fixture(autouse=True)
def logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[pytest.LogCaptureFixture]:
    for name in os.environ:
        if name.startswith(("ONWARD_", "CELERY_", "HATCHET_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    caplog.set_level(logging.DEBUG)
    yield caplog
    assert SECRET not in caplog.text


def shown(source: str | Path | None) -> str:
    """All that can be seen of what comes of a source."""
    connected = connect(source)
    texts = [str(connected), repr(connected)]
    for seen in (connected.value_or(None), connected.swap().value_or(None)):
        texts += [str(seen), repr(seen)]
    return "\n".join(texts)


def is_refused(source: str | Path | None) -> bool:
    return connect(source).value_or(None) is None


@pytest.mark.parametrize(
    "text",
    [
        "backend: celery\ncelery: {broker_url: 'redis://:s3cret@h'}",
        "backend: celery\ncelery: {broker_url: 'redis://h', result_backend: 'redis://:s3cret@h'}",
        "backend: celery\ncelery: {broker_url: 'amqp://u:s3cret@h', result_backend: 'redis://r'}",
        f"backend: celery\ncelery: {{broker_url: 'redis://h', signing_keys: {KEY}}}",
        "backend: temporal\ntemporal: {api_key: s3cret}",
        "backend: temporal\ntemporal: {api_key: '${SECRET}'}",
        f"backend: hatchet\nhatchet: {{token: {TOKEN}}}",
        "backend: hatchet\nhatchet: {token: '${TOKEN}'}",
    ],
)
def test_a_file_s_secrets_are_used_and_not_shown(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    monkeypatch.setenv("TOKEN", TOKEN)
    path = tmp_path / "onward.yaml"
    path.write_text(text)
    assert not is_refused(path)
    assert SECRET not in shown(path)


@pytest.mark.parametrize(
    "text",
    [
        # not YAML
        "backend: celery\ncelery:\n  broker_url: 'redis://:s3cret@h",
        "backend: celery\ncelery:\n broker_url: redis://:s3cret: x@h",
        "backend: celery\ncelery:\n  broker_url: @s3cret",
        "backend: celery\ncelery:\n  broker_url: *s3cret",
        "backend: celery\ncelery:\n  broker_url: !s3cret x",
        "backend: celery\ncelery:\n  broker_url: %s3cret",
        'backend: celery\ncelery:\n  broker_url: "\\s3cret"',
        "backend: celery\ncelery:\n  broker_url: {s3cret",
        "s3cret\n\tx: 1",
        # something else than what should stand there
        "s3cret",
        "- s3cret",
        "backend: celery\ncelery: s3cret",
        "backend: celery\ncelery: [s3cret]",
        "backend: celery\ncelery:\n  broker_url:redis://:s3cret@h",
        "backend: celery\ncelery:\n  broker_url:redis://:s3cret@h: x",
        "backend: celery\ncelery:\n  broker_url: {user: s3cret}",
        "backend: celery\ncelery:\n  broker_url: [s3cret]",
        "backend: celery\ncelery:\n  queue: {s3cret}",
        "backend: celery\ncelery: {broker_url: 'redis://h', s3cret}",
        "backend: celery\ncelery:\n  keep: s3cret",
        "backend: redis://:s3cret@h",
        "backend: [s3cret]",
        # in a place that shows things, or malformed
        "backend: celery\ncelery: {broker_url: s3cret}",
        "backend: celery\ncelery: {broker_url: 's3cret://h'}",
        "backend: celery\ncelery: {broker_url: 'redis://:s3cret/x@h'}",
        "backend: celery\ncelery: {broker_url: 'redis://:s3cret#x@h'}",
        "backend: celery\ncelery: {broker_url: 'redis://h/s3cret'}",
        "backend: celery\ncelery: {broker_url: 'redis://h:s3cret'}",
        "backend: celery\ncelery: {broker_url: 'amqp://h', result_backend: 'rpc://:s3cret@h'}",
        "backend: celery\ncelery: {broker_url: 'amqp://h?s3cret', result_backend: 'redis://h'}",
        "backend: celery\ncelery: {broker_url: 'memory://:s3cret@h'}",
        "backend: celery\ncelery: {broker_url: 'redis://h', signing_keys: s3cret}",
        "backend: celery\ncelery: {broker_url: 'redis://h', signing_keys: [s3cret]}",
        "backend: celery\ncelery: {broker_url: 'redis://h', signing_keys: '${s3cret'}",
        "backend: temporal\ntemporal: {api_key: [s3cret]}",
        "backend: temporal\ntemporal: {api_key: '${s3cret:x}'}",
        "backend: temporal\ntemporal: {api_key: '${}s3cret'}",
        "backend: temporal\ntemporal: {host: 'u:s3cret@h'}",
        "backend: temporal\ntemporal: {host: 'https://u:s3cret@h'}",
        "backend: temporal\ntemporal: {address: 'u:s3cret@h:1'}",
        "backend: temporal\ntemporal: {port: '${SECRET}'}",
        "backend: temporal\ntemporal: {tls: '${SECRET}'}",
        "backend: temporal\ntemporal: {heartbeat: s3cret}",
        "backend: hatchet\nhatchet: {token: s3cret}",
        "backend: hatchet\nhatchet: {token: a.s3cret.b}",
        f"backend: hatchet\nhatchet: {{token: {TOKEN}.x}}",
        f"backend: hatchet\nhatchet: {{token: '{TOKEN}', host_port: 'u:s3cret@h:1'}}",
        f"backend: hatchet\nhatchet: {{token: '{TOKEN}', server_url: 'http://u:s3cret@h'}}",
        f"backend: hatchet\nhatchet: {{token: '{TOKEN}', tls_strategy: s3cret}}",
    ],
)
def test_a_file_that_makes_no_sense_shows_no_text_of_it(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", SECRET)
    path = tmp_path / "onward.yaml"
    path.write_text(text)
    assert is_refused(path)
    assert SECRET not in shown(path)


@pytest.mark.parametrize(
    "environment",
    [
        {"ONWARD_URL": "celery+redis://:s3cret@h"},
        {"CELERY_BROKER_URL": "redis://:s3cret@h"},
        {"CELERY_BROKER_URL": "redis://h", "ONWARD_SIGNING_KEYS": KEY},
        {"TEMPORAL_ADDRESS": "h:1", "TEMPORAL_API_KEY": SECRET},
        {"HATCHET_CLIENT_TOKEN": TOKEN},
        {"ONWARD_URL": "hatchet://h:1", "HATCHET_CLIENT_TOKEN": TOKEN},
    ],
)
def test_the_environment_s_secrets_are_used_and_not_shown(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert not is_refused(None)
    assert SECRET not in shown(None)


@pytest.mark.parametrize(
    "environment",
    [
        {"ONWARD_URL": SECRET},
        {"ONWARD_URL": "redis://:s3cret@h"},
        {"ONWARD_URL": "celery+redis://:s3cret@h", "ONWARD_CONFIG": "x.yaml"},
        {"ONWARD_URL": "celery+redis://:s3cret@h", "ONWARD_BACKEND": "temporal"},
        {"ONWARD_CONFIG": "redis://:s3cret@h"},
        {"ONWARD_CONFIG": "s3cret@h.yaml"},
        {"ONWARD_BACKEND": "redis://:s3cret@h"},
        {"CELERY_BROKER_URL": SECRET},
        {"CELERY_BROKER_URL": "amqp://:s3cret@h"},
        {"CELERY_BROKER_URL": "redis://:s3cret@h", "TEMPORAL_ADDRESS": "h:1"},
        {"CELERY_BROKER_URL": "amqp://h", "CELERY_RESULT_BACKEND": "db+pg://:s3cret@h"},
        {"CELERY_BROKER_URL": "redis://h", "ONWARD_SIGNING_KEYS": SECRET},
        {"TEMPORAL_ADDRESS": "u:s3cret@h:1"},
        {"TEMPORAL_ADDRESS": "h:1", "TEMPORAL_TLS": SECRET},
        {"HATCHET_CLIENT_TOKEN": SECRET},
        {"HATCHET_CLIENT_TOKEN": TOKEN, "HATCHET_CLIENT_HOST_PORT": "u:s3cret@h:1"},
    ],
)
def test_an_environment_that_makes_no_sense_shows_no_text_of_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert is_refused(None)
    assert SECRET not in shown(None)


@pytest.mark.parametrize(
    "url",
    [
        "temporal://u:s3cret@h",
        "temporal://:s3cret@h",
        "temporal://s3cret@h",
        "temporal://h?api_key=s3cret",
        "temporal://h?tls=s3cret",
        "temporal://h:s3cret",
        "hatchet://u:s3cret@h",
        "hatchet://s3cret@h:1",
        "hatchet://h:1?token=s3cret",
        "hatchet://h:1/u:s3cret@x",
        "hatchet://h:1?server_url=http://u:s3cret@h",
        "hatchet://h:1?tls=s3cret",
    ],
)
def test_a_url_with_a_secret_that_has_no_place_there_is_refused_without_showing_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", "e30.eyJzdWIiOiAiNzA3In0.")
    assert is_refused(url)
    assert SECRET not in shown(url)


@pytest.mark.parametrize("source", ["celery+redis://:s3cret@h", "temporal://h:1", "hatchet://h:1"])
def test_a_backend_shows_no_secret_of_what_it_is_made_of(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HATCHET_CLIENT_TOKEN", TOKEN)
    monkeypatch.setenv("TEMPORAL_API_KEY", SECRET)
    assert SECRET not in repr(list(vars(connect(source).unwrap()).values()))
