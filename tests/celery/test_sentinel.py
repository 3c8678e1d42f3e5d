"""A Redis behind Sentinel works as broker and ledger, also when its primary dies."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from onward import Catalog, connect, each, result, run, submit, task
from onward.backends.celery import CeleryBackend, celery
from tests.engines.sentinel import NAME, Watched, watched


@task
def double(n: int) -> int:
    time.sleep(0.1)
    return 2 * n


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("sentinel")) as servers:
        yield servers


def connected(source: str | Path | None) -> CeleryBackend:
    backend = connect(source).unwrap()
    assert isinstance(backend, CeleryBackend)
    return backend


def test_a_url_the_environment_and_a_file_can_name_sentinels(
    servers: Watched, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", servers.url)
    file = tmp_path / "onward.yaml"
    file.write_text(f"backend: celery\ncelery:\n  broker_url: {servers.url}\n")
    by_environment, by_file, by_url = (
        connected(source) for source in (None, file, f"celery+{servers.url}")
    )
    with closing(by_environment), closing(by_file), closing(by_url):
        worker = by_file.serve(Catalog(double)).unwrap()
        for backend in (by_environment, by_url):
            assert run((double >> double)(1), on=backend, timeout=120) == Success(4)
        worker.stop()


def test_celerys_transport_options_can_have_the_name_of_the_primary(servers: Watched) -> None:
    url = servers.url.partition("?")[0]
    options = {"broker_transport_options": {"master_name": NAME}}
    with closing(celery(url, queue=uuid4().hex, options=options)) as backend:
        worker = backend.serve(Catalog(double)).unwrap()
        assert run(each(double)([1, 2]), on=backend, timeout=120) == Success([2, 4])
        assert backend.diagnose().unwrap().findings
        worker.stop()


def test_calls_end_although_the_primary_dies(servers: Watched) -> None:
    with closing(celery(servers.url, queue=uuid4().hex, lease=2)) as backend:
        worker = backend.serve(Catalog(double), concurrency=2).unwrap()
        refs = [submit((double >> double)(n), on=backend).unwrap() for n in range(20)]
        assert result(refs[0], on=backend, timeout=120) == Success(0)
        servers.primary.kill()
        deadline = time.monotonic() + 60
        while (last := result(refs[-1], on=backend, timeout=120)) != Success(76):
            assert time.monotonic() < deadline, last
        assert [result(ref, on=backend, timeout=120) for ref in refs] == [
            Success(4 * n) for n in range(20)
        ]
        assert run((double >> double)(1), on=backend, timeout=120) == Success(4)
        worker.stop()
