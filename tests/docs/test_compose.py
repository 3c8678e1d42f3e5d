"""What docker-compose.yml and the Dockerfile promise, as far as a test can see without Docker."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, cast

import pytest
import yaml
from returns.result import Success

from onward import connect
from onward.cli import hatchet_docker
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.engines.valkey import Valkey

ROOT = Path(__file__).parents[2]
Service: TypeAlias = dict[str, object]

COMPOSE = cast(
    dict[str, dict[str, Service]], yaml.safe_load((ROOT / "docker-compose.yml").read_text())
)
SERVICES = COMPOSE["services"]
ENGINES = {name: service for name, service in SERVICES.items() if "build" not in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text().splitlines()


def texts(service: Service, what: str) -> list[str]:
    return cast(list[str], service.get(what, []))


def test_every_engine_is_there() -> None:
    engines = {"valkey", "rabbitmq", "temporal", "hatchet", "hatchet-postgres"}
    assert set(ENGINES) == engines
    assert {profile for service in ENGINES.values() for profile in texts(service, "profiles")} == {
        "celery",
        "temporal",
        "hatchet",
    }


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_has_a_version(name: str) -> None:
    assert re.search(r":v?\d+\.\d+(\.\d+)?[a-z0-9.-]*$", str(SERVICES[name]["image"]))


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_says_when_it_is_ready(name: str) -> None:
    check = cast(dict[str, object], ENGINES[name]["healthcheck"])
    test = cast(list[str], check["test"])
    assert test[0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries"} <= check.keys()


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    for port in texts(SERVICES[name], "ports"):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


def test_no_two_services_have_the_same_port() -> None:
    ports = [port for service in SERVICES.values() for port in texts(service, "ports")]
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_keeps_its_data_in_a_volume_with_a_name(name: str) -> None:
    volumes = [volume.partition(":")[0] for volume in texts(ENGINES[name], "volumes")]
    assert volumes
    assert set(volumes) <= COMPOSE["volumes"].keys()


def test_a_service_waits_for_those_it_needs() -> None:
    for service in SERVICES.values():
        for other, how in cast(dict[str, Service], service.get("depends_on", {})).items():
            assert how["condition"] == "service_healthy"
            assert "healthcheck" in SERVICES[other]


def test_onward_dev_starts_the_same_hatchet() -> None:
    assert SERVICES["hatchet"]["image"] == hatchet_docker.HATCHET
    assert SERVICES["hatchet-postgres"]["image"] == hatchet_docker.POSTGRESQL


def test_hatchet_loses_nothing_when_it_dies_for_its_queue_is_rabbitmq() -> None:
    hatchet = cast(dict[str, str], SERVICES["hatchet"]["environment"])
    rabbitmq = cast(dict[str, str], SERVICES["rabbitmq"]["environment"])
    known = f"{rabbitmq['RABBITMQ_DEFAULT_USER']}:{rabbitmq['RABBITMQ_DEFAULT_PASS']}"
    assert hatchet["SERVER_MSGQUEUE_KIND"] == "rabbitmq"
    assert hatchet["SERVER_MSGQUEUE_RABBITMQ_URL"] == f"amqp://{known}@rabbitmq:5672/"
    assert "hatchet" in texts(SERVICES["rabbitmq"], "profiles")


class ComposedValkey(Valkey):
    def command(self) -> Sequence[str | Path]:
        where = ["--bind", HOST, "--port", str(self.port), "--dir", str(self.folder)]
        return [super().command()[0], *texts(SERVICES["valkey"], "command")[1:], *where]


class ComposedTemporal(Temporal):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ui_port = self.reserve_port()

    def command(self) -> Sequence[str | Path]:
        where = ["--ip", HOST, "--port", str(self.port), "--ui-port", str(self._ui_port)]
        where += ["--http-port", str(self._http_port), "--metrics-port", str(self._metrics_port)]
        where += ["--db-filename", str(self.folder / "temporal.db")]
        return [super().command()[0], *texts(SERVICES["temporal"], "command"), *where]


@pytest.mark.skipif(Valkey.missing() is not None, reason=str(Valkey.missing()))
def test_valkey_starts_with_its_settings(tmp_path: Path) -> None:
    with ComposedValkey(tmp_path).restart():
        assert (tmp_path / "appendonlydir").is_dir()


@pytest.mark.skipif(Temporal.missing() is not None, reason=str(Temporal.missing()))
def test_temporal_starts_with_its_settings_and_its_check_says_so(tmp_path: Path) -> None:
    check = texts(cast(Service, SERVICES["temporal"]["healthcheck"]), "test")
    with ComposedTemporal(tmp_path).restart() as server:
        asked = [part.replace("127.0.0.1:7233", server.address) for part in check[2:]]
        answer = subprocess.run(
            [server.command()[0], *asked], capture_output=True, text=True, check=False
        )
        assert answer.stdout.strip() == "SERVING", answer.stderr
        assert (tmp_path / "temporal.db").exists()


def test_the_worker_goes_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SERVICES["worker"]
    environment = cast(dict[str, str | None], worker["environment"])
    assert texts(worker, "command")[0] == "worker"
    secrets = [name for name, value in environment.items() if value is None]
    assert secrets == ["HATCHET_CLIENT_TOKEN", "ONWARD_SIGNING_KEYS", "TEMPORAL_API_KEY"]
    for name in secrets:
        monkeypatch.delenv(name, raising=False)
    url = re.fullmatch(r"\$\{ONWARD_URL:-(.+)\}", environment["ONWARD_URL"] or "")
    assert url is not None
    assert url[1].startswith("celery+redis://valkey:6379")
    assert isinstance(connect(url[1]), Success)


def test_the_image_is_the_command_and_runs_as_nobody_in_particular() -> None:
    user = next(line for line in DOCKERFILE if line.startswith("USER"))
    assert user == "USER 10001:10001"
    assert DOCKERFILE.index('ENTRYPOINT ["onward"]') > DOCKERFILE.index(user)
    bases = [line for line in DOCKERFILE if line.startswith("FROM")]
    assert all(base.startswith("FROM python:${PYTHON}-slim") for base in bases)
    assert re.fullmatch(r"ARG PYTHON=3\.\d+\.\d+", DOCKERFILE[1])


def test_all_that_the_image_is_built_from_is_let_in() -> None:
    let_in = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {
        part.removeprefix("./")
        for line in DOCKERFILE
        if line.startswith("COPY ") and "--from" not in line
        for part in line.split()[1:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_s_extras_are_those_of_the_project() -> None:
    extras = next(line for line in DOCKERFILE if line.startswith("ARG EXTRAS="))
    declared = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    for extra in extras.removeprefix("ARG EXTRAS=").split(","):
        assert re.search(rf"^{extra} = ", declared, re.MULTILINE)
