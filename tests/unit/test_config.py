"""`connect` with a URL: the backend, or what is wrong."""

import logging
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from returns.result import Success

from onward import Misconfigured, connect, run, task
from onward.backends.celery.backend import CeleryBackend
from onward.backends.local import Local

LEDGER = "redis://localhost:6379/1"


def message(url: str) -> str:
    fault = connect(url).failure()
    assert isinstance(fault, Misconfigured)
    return str(fault)


def celery_at(url: str) -> CeleryBackend:
    backend = connect(url).unwrap()
    assert isinstance(backend, CeleryBackend)
    return backend


def python(code: str) -> str:
    """What a program of its own prints."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_local_runs_here() -> None:
    @task
    def double(n: int) -> int:
        return 2 * n

    assert run(double(21), on=connect("local://").unwrap()) == Success(42)


def test_local_takes_its_parameters() -> None:
    backend = connect("local://?workers=3&keep=60").unwrap()
    assert isinstance(backend, Local)
    assert repr(backend) == "local(workers=3)"


@pytest.mark.parametrize(
    ("url", "broker", "ledger"),
    [
        ("celery+redis://", "redis://", "redis://"),
        ("celery+redis://host:1/2", "redis://host:1/2", "redis://host:1/2"),
        ("Celery+Redis://host", "redis://host", "redis://host"),
        ("celery+redis://user:p%40ss@[::1]:1/2", *["redis://user:p%40ss@[::1]:1/2"] * 2),
        (f"celery+redis://host?result_backend={LEDGER}", "redis://host", LEDGER),
        (f"celery+amqp://host?result_backend={LEDGER}", "amqp://host", LEDGER),
        (f"celery+amqp://host//?result_backend={LEDGER}", "amqp://host//", LEDGER),
        ("celery+memory://", "memory://", "cache+memory://"),
    ],
)
def test_celery_has_its_broker_and_its_ledger_from_the_url(
    url: str, broker: str, ledger: str
) -> None:
    settings = celery_at(url).app.conf
    assert (settings.broker_url, settings.result_backend) == (broker, ledger)


@pytest.mark.parametrize("scheme", ["celery+redis", "celery+rediss", "celery+memory"])
def test_celery_takes_its_queue_from_the_url(scheme: str) -> None:
    assert celery_at(f"{scheme}://?queue=mail").queue == "mail"


def test_celery_takes_its_bounds_from_the_url() -> None:
    bounds = celery_at("celery+redis://h?connect_timeout=1.5&socket_timeout=2").timeouts
    assert (bounds.connect, bounds.socket) == (1.5, 2.0)


@pytest.mark.parametrize("password", ["p%2Fw", "a+b", "a%2Bb", "p%40w"])
def test_a_url_in_a_url_may_stand_as_it_is_or_be_encoded(password: str) -> None:
    ledger = f"redis://:{password}@host:1/2"
    for written in (ledger, quote(ledger, safe="")):
        settings = celery_at(f"celery+amqp://host?result_backend={written}").app.conf
        assert settings.result_backend == ledger


@pytest.mark.parametrize(
    ("url", "ledger"),
    [
        ("celery+rediss://host", None),
        (f"celery+rediss://host?ssl_ca_certs={quote(__file__, safe='')}", None),
        ("celery+rediss://host?result_backend=rediss://other", "other"),
        ("celery+rediss://host?result_backend=rediss://other?ssl_certfile=/cert.pem", "other"),
    ],
)
def test_certificates_are_verified(url: str, ledger: str | None) -> None:
    settings = celery_at(url).app.conf
    assert "ssl_cert_reqs=required" in settings.broker_url
    assert settings.result_backend.startswith(f"rediss://{ledger or 'host'}?")
    assert "ssl_cert_reqs=required" in settings.result_backend


def test_certificate_files_reach_the_broker_s_client(tmp_path: Path) -> None:
    files = {
        name: str(tmp_path / f"my {name}")
        for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    }
    for file in files.values():
        Path(file).touch()
    tls = celery_at(f"celery+rediss://host?{urlencode(files, quote_via=quote)}").app
    client = tls.connection_for_write().ssl
    assert isinstance(client, dict)
    assert {name: client[name] for name in files} == files


@pytest.mark.parametrize("url", ["", "local", "/etc/onward", "user:word@host", "://host", "1://"])
def test_a_text_that_is_not_a_url_is_refused_with_an_example(url: str) -> None:
    assert "it must start with a scheme, such as local:// or celery+redis://" in message(url)
    assert "the name of a file must end in .yaml" in message(url)


def test_what_surrounds_a_url_is_no_part_of_it() -> None:
    assert repr(connect(" local://?workers=3\n").unwrap()) == "local(workers=3)"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("redis", "celery+redis"),
        ("amqp", "celery+amqp"),
        ("memory", "celery+memory"),
        ("celery-redis", "celery+redis"),
        ("celery+rabbitmq", "celery+amqp"),
        ("lokal", "local"),
    ],
)
def test_an_unknown_scheme_is_refused_with_the_nearest_and_all_known(
    written: str, meant: str
) -> None:
    said = message(f"{written}://host")
    assert f"there is no backend {written!r} (did you mean {meant!r}?)" in said
    for scheme in ("celery+amqp", "celery+memory", "celery+redis", "celery+rediss", "local"):
        assert scheme in said


def test_a_scheme_like_none_there_is_gets_no_suggestion() -> None:
    assert "did you mean" not in message("ftp://host")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("local://?worker=4", "'worker' (did you mean 'workers'?). Known: keep, workers"),
        ("local://?queue=mail", "there is no parameter 'queue'. Known: keep, workers"),
        (
            "celery+redis://h?quue=a",
            "(did you mean 'queue'?). Known: connect_timeout, dead_letters, keep, queue, result",
        ),
        ("celery+rediss://h?ssl_ca_certs=/nowhere", "ssl_ca_certs: /nowhere cannot be read: No"),
        ("celery+redis://h?ssl_ca_certs=/x", "there is no parameter 'ssl_ca_certs'"),
        (f"celery+memory://?result_backend={LEDGER}", "Known: queue"),
        ("local://?workers=four", "workers is a whole number: write workers=4"),
        ("local://?workers=", "workers is a whole number: write workers=4"),
        ("local://?workers", "workers is a whole number: write workers=4"),
        ("local://?workers=0", "workers is 1 or more"),
        ("local://?keep=long", "keep is a number: write keep=60"),
        ("local://?keep=nan", "keep is a number of seconds from 0 up"),
        ("celery+redis://h?keep=0", "keep is a number of seconds from 1 up"),
        ("celery+redis://h?keep=1e300", "keep is at most"),
        (
            "celery+redis://h?connect_timeout=0",
            "connect_timeout is a number of seconds from 0.1 up",
        ),
        (
            "celery+redis://h?socket_timeout=nan",
            "socket_timeout is a number of seconds from 0.1 up",
        ),
        ("celery+redis://h?socket_timeout=inf", "socket_timeout is at most"),
        ("celery+redis://h?dead_letters=-1", "dead_letters is a number of messages from 0 up"),
        ("local://?workers=1&workers=2", "workers appears twice"),
        ("local://host", "this backend is in this process, and has no host: write local://"),
        ("local:///path", "this backend is in this process, and has no host: write local://"),
        ("celery+memory://host", "this backend is in this process, and has no host"),
        ("celery+amqp://host", "RabbitMQ cannot keep the ledger of calls: add a Redis for it"),
        ("celery+amqp://h?result_backend=rpc://", "result_backend must be a Redis"),
        ("celery+amqp://h?result_backend=localhost", "result_backend must be a Redis"),
        ("celery+redis://host/mail", "the number of a database, such as /0"),
        ("celery+redis://host:port/0", "a port is a number"),
        ("celery+redis://host:70000/0", "a port is a number"),
        ("celery+redis://[::1/0", "it is not a valid URL"),
        ("celery+redis://\ud800/0", "it is not a valid URL"),
    ],
)
def test_a_mistake_in_a_url_is_refused_with_what_to_write(url: str, says: str) -> None:
    assert says in message(url)


@pytest.mark.parametrize(
    "url",
    [
        "celery+redis://user:{}@host:6379/0",
        "celery+redis://{}@host:6379/0",
        "celery+redis://:{}@host:6379/0?quue=mail",
        "celery+redis://:{}@host:6379/zero",
        "celery+redis://:{}@host:port",
        "celery+rediss://:{}@host",
        "celery+amqp://user:{}@host",
        "celery+amqp://user:word@host?result_backend=redis://:{}@host",
        "celery+amqp://user:word@host?result_backend=amqp://:{}@host",
        "celery+amqp://user:word@host?result_backend=redis://:{}@host/zero",
        "celery+amqp://user:word@host?result_backend=redis://:{}@host&quue=mail",
        "celery+amqp://user:word@host?result_backend=redis%3A%2F%2F%3A{}%40host&keep=x",
        "celery+amqp://user:word@host?resultbackend=redis://:{}@host",
        "redis://:{}@host",
        "local://:{}@host",
        ":{}@host",
    ],
)
@pytest.mark.parametrize(
    "password",
    [
        *("s3cret", "s3cret/x", "x/s3cret", "s3cret?x", "x?s3cret", "s3cret#x", "x#s3cret"),
        *("s3cret@x", "x&s3cret", "s3cret&x", "x?s3cret=1", "x?1&s3cret&2", "x&s3cret=1&2"),
        *("x&s3cret=1&queue=", "[s3cret", "s3cret:x", "x%2Fs3cret", "s3cret=1", "x%26s3cret"),
    ],
)
def test_no_password_is_shown_or_logged_whatever_is_in_it(
    url: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    connected = connect(url.format(password))
    backend = connected.value_or(None)
    shown = f"{connected} {connected!r} {backend} {backend!r} {getattr(backend, '__dict__', '')}"
    assert "s3cret" not in shown
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("password", ["1234/x", "1234#x", "1234?x"])
def test_a_password_that_makes_it_another_url_is_refused(password: str) -> None:
    url = f"celery+amqp://user:{password}@host?result_backend={LEDGER}"
    assert "percent-encode what is neither a letter nor a digit" in message(url)


def test_an_engine_is_imported_only_where_it_is_used() -> None:
    code = "import sys; from onward import connect; connect('local://').unwrap(); "
    assert python(code + "print('celery' in sys.modules, 'redis' in sys.modules)") == "False False"


@pytest.mark.parametrize("module", ["celery", "redis"])
def test_a_missing_extra_is_reported_with_how_to_install_it(module: str) -> None:
    code = (
        f"import sys; sys.modules['{module}'] = None; from onward import connect; "
        "print(connect('celery+redis://').failure())"
    )
    assert f'{module} is not installed: pip install "onward[celery]"' in python(code)


PLUGIN = """
from typing import TypedDict

from onward import local
from onward.engines import Engine

class Settings(TypedDict, total=False):
    speed: str

def from_url(url):
    if url not in ("acme://", "acme+fast://"):
        raise ValueError("write acme://")
    return Settings(speed="fast") if "fast" in url else Settings()

def connect(settings):
    if "speed" in settings:
        import acme_sdk
    return local(workers=7)

ENGINE = Engine(Settings, connect, from_url)
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that brings backends, as pip installs it; its metadata."""
    (tmp_path / "onward_acme.py").write_text(PLUGIN)
    folder = tmp_path / "onward_acme-1.0.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text(
        "[onward.backends]\nacme = onward_acme:ENGINE\nacme.fast = onward_acme:ENGINE\n"
    )
    metadata = folder / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: onward-acme\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onward_acme", raising=False)
    return metadata


@pytest.mark.usefixtures("third_party")
def test_a_third_party_s_backend_is_found_by_its_scheme() -> None:
    assert repr(connect("acme://").unwrap()) == "local(workers=7)"


@pytest.mark.usefixtures("third_party")
def test_a_third_party_s_backend_refuses_a_url_in_its_own_words() -> None:
    assert "acme://: write acme://" in message("acme://host")


@pytest.mark.usefixtures("third_party")
def test_a_third_party_s_schemes_are_among_those_there_are() -> None:
    assert "did you mean 'acme'?" in message("acne://")
    assert "acme, acme+fast, celery+amqp" in message("acne://")


@pytest.mark.usefixtures("third_party")
def test_what_a_third_party_misses_is_reported_with_how_to_install_it() -> None:
    assert "acme_sdk is not installed: pip install onward-acme" in message("acme+fast://")


def test_a_third_party_s_missing_extra_is_reported_with_how_to_install_it(
    third_party: Path,
) -> None:
    with third_party.open("a") as metadata:
        metadata.write("Provides-Extra: acme\n")
    assert 'acme_sdk is not installed: pip install "onward-acme[acme]"' in message("acme+fast://")


@pytest.mark.parametrize("named", ["onward_acme_broken:ENGINE", "onward_acme:ENGINES"])
def test_an_entry_point_that_cannot_be_loaded_is_reported_with_its_package(
    named: str, third_party: Path
) -> None:
    broken = third_party.parent.with_name("onward_acme_broken.py")
    broken.write_text("raise RuntimeError('s3cret')")
    entries = third_party.with_name("entry_points.txt")
    entries.write_text(f"[onward.backends]\nacme = {named}\n")
    said = message("acme://")
    assert f"{named} cannot be loaded (" in said
    assert "update onward-acme, or run python -c" in said
    assert "s3cret" not in said
    file = third_party.with_name("onward.yaml")
    file.write_text("backend: local\nlocal: {workers: 3}\nacme: {speed: 1}\n")
    assert repr(connect(file).unwrap()) == "local(workers=3)"  # which needs no other engine


def test_two_packages_with_a_backend_of_the_same_name_are_told(third_party: Path) -> None:
    other = third_party.parent.with_name("onward_other-1.0.dist-info")
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: onward-other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text("[onward.backends]\nacme = onward_acme:ENGINE\n")
    assert "onward-acme and onward-other each have a backend 'acme'" in message("acme://")
    assert repr(connect("local://?workers=3").unwrap()) == "local(workers=3)"


def test_an_entry_point_that_names_something_else_is_refused(third_party: Path) -> None:
    entries = third_party.with_name("entry_points.txt")
    entries.write_text("[onward.backends]\nacme = onward_acme:connect\n")
    assert "onward_acme:connect is not an onward.engines.Engine" in message("acme://")
