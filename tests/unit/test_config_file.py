"""`connect` with a YAML file: the backend, or what is wrong."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import TypeAlias

import pytest

from onward import connect
from onward.backends.celery.backend import CeleryBackend
from onward.backends.temporal.config import tls_config
from onward.config.document import LIMIT

EXAMPLE = """\
backend: celery
celery:
  broker_url: redis://localhost:6379/0
  result_backend: redis://localhost:6379/0
hatchet:
  token: your-hatchet-token
  server_url: https://app.hatchet.run
temporal:
  host: localhost
  port: 7233
  namespace: default
  task_queue: my-queue
"""

# An unsigned one, which says whose it is and where the engine is.
TOKEN = (
    "e30.eyJzdWIiOiAiNzA3ZDA4NTUiLCAiZ3JwY19icm9hZGNhc3RfYWRkcmVzcyI6ICJhcHAuZXhhbXBsZTo0NDMifQ."
)

Write: TypeAlias = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_it(text: str) -> Path:
        path = tmp_path / "onward.yaml"
        path.write_text(dedent(text))
        return path

    return write_it


@pytest.fixture(autouse=True)
def _nothing_else_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HATCHET_CLIENT_TOKEN", "ONWARD_SIGNING_KEYS", "TEMPORAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_one_file_has_the_settings_of_every_engine_and_names_the_one_in_use(write: Write) -> None:
    backend = connect(write(EXAMPLE)).unwrap()
    assert isinstance(backend, CeleryBackend)
    settings = backend.app.conf
    assert settings.broker_url == settings.result_backend == "redis://localhost:6379/0"
    other = connect(write(EXAMPLE.replace("backend: celery", "backend: temporal"))).unwrap()
    assert repr(other) == "temporal('localhost:7233', namespace='default', task_queue='my-queue')"


def test_a_file_goes_by_its_path_or_the_text_of_it(write: Write) -> None:
    path = write("backend: local\nlocal: {workers: 3}\n")
    assert repr(connect(str(path)).unwrap()) == "local(workers=3)"
    other = path.rename(path.with_name("onward"))
    assert repr(connect(str(other)).unwrap()) == "local(workers=3)"


@pytest.mark.parametrize(
    "text", ["backend: local\n", "backend: local\nlocal:\n", "{backend: local}"]
)
def test_settings_left_out_are_as_the_engine_has_them(text: str, write: Write) -> None:
    assert repr(connect(write(text)).unwrap()).startswith("local(workers=")


def test_what_is_anchored_once_may_be_meant_again(write: Write) -> None:
    text = """
        backend: celery
        celery:
          broker_url: &redis redis://here:6379/0
          result_backend: *redis
    """
    backend = connect(write(text)).unwrap()
    assert isinstance(backend, CeleryBackend)
    assert backend.app.conf.result_backend == "redis://here:6379/0"


@pytest.mark.parametrize(
    ("section", "shown"),
    [
        ("{}", "localhost:7233"),
        ("{address: 'there:1'}", "there:1"),
        ("{address: there}", "there:7233"),
        ("{address: '[::1]:1'}", "[::1]:1"),
        ("{host: '::1', port: 1}", "[::1]:1"),
    ],
)
def test_temporal_has_its_address_in_one_or_in_two(section: str, shown: str, write: Write) -> None:
    backend = connect(write(f"backend: temporal\ntemporal: {section}\n")).unwrap()
    assert repr(backend).startswith(f"temporal('{shown}'")


@pytest.mark.parametrize(
    "more", ["", ", host_port: 'app.example:443'", ", tls_strategy: none", ", tls: false"]
)
def test_hatchet_s_token_says_where_it_is(more: str, write: Write) -> None:
    backend = connect(write(f"backend: hatchet\nhatchet: {{token: {TOKEN}{more}}}\n")).unwrap()
    assert repr(backend) == "hatchet('app.example:443')"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workers: ${N}", "workers=5"),
        ("workers: '${N}'", "workers=5"),
        ("workers: ${EMPTY:-6}", "workers=6"),
        ("workers: ${MISSING:-6}", "workers=6"),
        ("workers: ${N:-6}", "workers=5"),
        ("workers: 1${N}", "workers=15"),
    ],
)
def test_variables_stand_for_what_the_environment_has(
    text: str, says: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("N", "5")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("MISSING", raising=False)
    assert says in repr(connect(write(f"backend: local\nlocal:\n  {text}\n")).unwrap())


def test_what_a_variable_has_is_taken_as_it_is(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "${N}:#'\"{")
    monkeypatch.setenv("N", "5")
    text = "backend: temporal\ntemporal: {namespace: 'a$${N}', task_queue: \"${PASSWORD}\"}\n"
    shown = repr(connect(write(text)).unwrap())
    assert "namespace='a${N}'" in shown
    assert "${N}:#" in shown


def test_only_the_engine_in_use_needs_its_variables(write: Write) -> None:
    text = "backend: local\ntemporal:\n  port: ${NOWHERE}\n  api_key: ${NOWHERE}\n"
    assert repr(connect(write(text)).unwrap()).startswith("local(")


def test_a_secret_left_out_is_where_a_url_has_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONWARD_SIGNING_KEYS", "k" * 32)
    text = "backend: celery\ncelery: {broker_url: 'redis://h'}\n"
    backend = connect(write(text)).unwrap()
    assert isinstance(backend, CeleryBackend)
    assert repr(backend.signer) == "Signer(1 key)"


TEMPORAL = "backend: temporal\ntemporal:\n  "
CELERY = "backend: celery\ncelery:\n  "
HATCHET = f"backend: hatchet\nhatchet:\n  token: {TOKEN}\n  "


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it names no backend: write backend: celery"),
        ("celery: {}\n", "it names no backend"),
        ("backend:\n", "line 1: backend is a text"),
        ("backend: 5\n", "line 1: backend is a text"),
        ("backend: selery\n", "line 1: there is no backend 'selery' (did you mean 'celery'?)"),
        ("backend: celery+redis\n", "it takes the name of an engine"),
        ("backnd: celery\n", "there is no section 'backnd' (did you mean 'backend'?)"),
        ("backend: local\ntemproal: {}\n", "line 2: there is no section 'temproal' (did you mean"),
        ("backend: local\nlocal: 5\n", "line 2: local needs its settings"),
        ("backend: local\nlocal: [5]\n", "line 2: local needs its settings"),
        ("- backend\n", "line 1: write names here, each with a colon"),
        ("backend: local\nlocal:\n  worker: 4\n", "line 3: there is no setting 'worker' (did you"),
        ("backend: local\ntemporal:\n  prt: 4\n", "line 3: there is no setting 'prt' (did you mea"),
        ("backend: local\ntemporal:\n  port: x\n", "line 3: port is a whole number: write port: 4"),
        (
            "backend: local\nlocal:\n  workers: four\n",
            "line 3: workers is a whole number: write wo",
        ),
        ("backend: local\nlocal:\n  workers: '4'\n", "line 3: workers is a whole number"),
        ("backend: local\nlocal:\n  workers: 4.0\n", "line 3: workers is a whole number"),
        ("backend: local\nlocal:\n  workers: true\n", "line 3: workers is a whole number"),
        ("backend: local\nlocal:\n  workers:\n", "line 3: workers is a whole number"),
        ("backend: local\nlocal:\n  workers: {}\n", "line 3: workers is a whole number"),
        (
            "backend: local\nlocal:\n  keep: 2024-99-99\n",
            "line 3: keep is a number: write keep: 60",
        ),
        ("backend: local\nlocal:\n  workers: ${PATH}\n", "line 3: workers is a whole number"),
        (
            "backend: local\nlocal:\n  workers: ${NOWHERE}\n",
            "line 3: workers: the environment has no",
        ),
        ("backend: local\nlocal:\n  workers: ${NOWHERE\n", "write $${ for a literal ${"),
        ("backend: local\nlocal:\n  workers: ${1}\n", "write $${ for a literal ${"),
        ("backend: local\nlocal:\n  workers: 0\n", "local: workers is 1 or more"),
        (
            "backend: local\nlocal:\n  keep: 1\n  keep: 2\n",
            "line 4: keep appears twice, first on l",
        ),
        ("backend: local\nbackend: celery\n", "line 2: backend appears twice, first on line 1"),
        ("backend: local\nlocal:\n  <<: {keep: 1}\n", "line 3: a setting's name is missing"),
        ("backend: local\n? [a]\n: 1\n", "a setting's name is missing or not valid"),
        ("backend: local\n--- \nbackend: celery\n", "it has several documents: leave one of th"),
        ("backend: local\nlocal: {\n", "it is not valid YAML"),
        ("backend: local\n\tlocal: 1\n", "line 2: it is not valid YAML"),
        ("backend: !!python/name:os.system x\n", "line 1: it is not valid YAML"),
        ("backend: \x01\n", "it is not valid YAML"),
        (f"backend: {'[' * 5000}\n", "it is nested too deeply"),
        (f"backend: local # {'x' * LIMIT}\n", f"it has more than {LIMIT} bytes"),
        (f"{TEMPORAL}tls: yes please\n", "line 3: tls is true or false: write tls: true"),
        (f"{TEMPORAL}namespace: 5\n", 'line 3: namespace is a text: write namespace: "..."'),
        (f"{TEMPORAL}heartbeat: 5000\n", "temporal: heartbeat is from 1 to 3600 seconds"),
        (f"{TEMPORAL}port: 0\n", "temporal: port is from 1 to 65535"),
        (f"{TEMPORAL}port: 1\n  address: h:1\n", "address and host or port are both set"),
        (f"{TEMPORAL}address: h:70000\n", "address is a host and a port: write localhost:7233"),
        (f"{TEMPORAL}host: h:1:2:x\n", "host takes a host without a port"),
        (f"{TEMPORAL}tls: false\n  tls_ca: /ca\n", "tls is false, but tls_ca is set"),
        (f"{TEMPORAL}tls_cert: /c\n", "tls_cert and tls_key go together"),
        (f"{TEMPORAL}tls_ca: /nowhere\n", "tls_ca: /nowhere cannot be read: No such file"),
        (
            f"{CELERY}queue: mail\n",
            "celery: broker_url is missing: set it, for example to redis://localhost",
        ),
        (f"{CELERY}broker_url: localhost\n", "broker_url must begin with redis://, rediss://"),
        (
            f"{CELERY}broker_url: pyamqp://h\n",
            "RabbitMQ cannot keep the ledger of calls: add a Redis",
        ),
        (f"{CELERY}broker_url: redis://h:p\n", "broker_url: it is not a valid URL"),
        (f"{CELERY}broker_url: redis://h/m\n", "the path of a Redis URL must be the number"),
        (f"{CELERY}broker_url: redis://h\n  ssl_keyfile: /k\n", "ssl_keyfile is for TLS: write"),
        (
            f"{CELERY}broker_url: redis://h\n  result_backend: rpc://\n",
            "result_backend must be a Redis",
        ),
        (
            f"{CELERY}broker_url: memory://\n  result_backend: redis://h\n",
            "leave result_backend out",
        ),
        (f"{CELERY}broker_url: memory://h\n", "memory:// is in this process and has no host"),
        (
            f"{CELERY}broker_url: amqp://h?x=1\n  result_backend: redis://h\n",
            "takes parameters behind a ? only for a Redis",
        ),
        (f"{HATCHET}tls_strategy: maybe\n", "tls_strategy is one of none, tls, mtls"),
        (f"{HATCHET}tls_strategy: mtls\n", "tls_cert and tls_key go together"),
        (f"{HATCHET}tls_strategy: tls\n  tls: true\n", "tls and tls_strategy are both set"),
        (f"{HATCHET}tls_cert: /c\n", "tls_cert and tls_key go together"),
        (f"{HATCHET}tls_strategy: none\n  tls_ca: /ca\n", "tls is off, but other settings of TLS"),
        (f"{HATCHET}tls: false\n  tls_ca: /ca\n", "tls is off, but other settings of TLS"),
        (f"{HATCHET}tls_ca: /nowhere\n", "tls: /nowhere cannot be read: No such file"),
        (f"{HATCHET}host_port: http://h\n", "host_port is a host and a port"),
        (f"{HATCHET}server_url: app.hatchet.run\n", "server_url is a URL: write https://app.hatch"),
        ("backend: hatchet\n", "hatchet: token is missing: set HATCHET_CLIENT_TOKEN"),
        ("backend: hatchet\nhatchet: {token: x}\n", "hatchet: it is not a Hatchet token: take one"),
    ],
)
def test_a_mistake_in_a_file_is_refused_with_its_line_and_what_to_write(
    text: str, says: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    path = write(text)
    fault = connect(path).failure()
    assert fault.task == str(path)
    assert says in fault.message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nowhere.yaml", "it cannot be read: No such file or directory"),
        ("nowhere.yml", "it cannot be read: No such file or directory"),
        (Path("nowhere"), "it cannot be read: No such file or directory"),
        (Path(), "it cannot be read: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_reason(
    source: str | Path, says: str
) -> None:
    fault = connect(source).failure()
    assert fault.task == str(source)
    assert fault.message == says


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "onward.yaml"
    path.write_bytes(b"backend: local # \xff")
    assert connect(path).failure().message == "it is not UTF-8 text"


def test_rabbitmq_and_its_ledger_may_both_be_over_tls(write: Write) -> None:
    ca = f"ssl_ca_certs: {__file__}"
    text = f"{CELERY}broker_url: amqps://h//\n  result_backend: rediss://r\n  {ca}\n"
    backend = connect(write(text)).unwrap()
    assert isinstance(backend, CeleryBackend)
    assert backend.app.conf.broker_use_ssl["ca_certs"] == __file__
    assert "ssl_cert_reqs=required" in backend.app.conf.result_backend


def test_temporal_has_its_certificates_tls_config(tmp_path: Path) -> None:
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(f"the {name}")
    ca, cert, key = (str(tmp_path / name) for name in ("ca", "cert", "key"))
    tls = tls_config(ca, cert, key, "temporal.test")
    assert tls.server_root_ca_cert == b"the ca"
    assert (tls.client_cert, tls.client_private_key) == (b"the cert", b"the key")
    assert tls.domain == "temporal.test"


def python(code: str) -> str:
    """What a program of its own prints."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_file_without_its_extra_is_refused_with_how_to_install_it(write: Write) -> None:
    path = write(EXAMPLE)
    code = (
        "import sys; sys.modules['yaml'] = None; from onward import connect; "
        f"print(connect({str(path)!r}).failure())"
    )
    assert 'PyYAML is not installed: pip install "onward[yaml]"' in python(code)


def test_no_sdk_is_imported_for_the_sections_that_are_not_in_use(write: Write) -> None:
    path = write(EXAMPLE.replace("backend: celery", "backend: local"))
    sdks = ("celery", "hatchet_sdk", "temporalio")
    code = (
        f"import sys; from onward import connect; connect({str(path)!r}).unwrap(); "
        f"print([name for name in {sdks} if name in sys.modules])"
    )
    assert python(code) == "[]"
