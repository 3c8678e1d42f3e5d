"""A schedule's cron on the nights when the clocks change."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from temporalio.client import Client

from onward import schedule, task, unschedule
from onward.backends.temporal import TemporalBackend
from onward.backends.temporal import temporal as temporal_at
from tests.engines.server import HOST
from tests.engines.temporal import Temporal
from tests.temporal.sdk import Sdk

BERLIN = ZoneInfo("Europe/Berlin")


@task
def report() -> None: ...


def last_sunday(month: int) -> date:
    """The next last Sunday of a month: March or October, when Berlin's clocks change."""
    today = datetime.now(BERLIN).date()
    for year in (today.year, today.year + 1):
        day = date(year, month, 31)
        day -= timedelta(days=(day.weekday() + 1) % 7)
        if day > today + timedelta(days=1):
            return day
    raise AssertionError


@pytest.fixture(scope="module")
def backend(temporal: Temporal) -> Iterator[TemporalBackend]:
    with closing(temporal_at(HOST, temporal.port, task_queue=uuid.uuid4().hex)) as backend:
        yield backend


def runs(backend: TemporalBackend, sdk: Sdk, cron: str) -> list[datetime]:
    """The times of the next runs of a cron in Berlin, in UTC."""
    name = uuid.uuid4().hex
    schedule(report(), on=backend, name=name, cron=cron, timezone="Europe/Berlin").unwrap()

    async def next_runs(client: Client) -> list[datetime]:
        described = await client.get_schedule_handle(name).describe()
        return list(described.info.next_action_times)

    try:
        return [each.astimezone(UTC) for each in sdk.run(next_runs)]
    finally:
        unschedule(name, on=backend).unwrap()


def test_a_run_in_the_skipped_hour_is_skipped(backend: TemporalBackend, sdk: Sdk) -> None:
    night = last_sunday(3)
    found = runs(backend, sdk, f"30 2 {night.day} {night.month} *")
    assert night not in {each.astimezone(BERLIN).date() for each in found}


def test_a_run_in_the_repeated_hour_is_made_the_second_time(
    backend: TemporalBackend, sdk: Sdk
) -> None:
    night = last_sunday(10)
    found = runs(backend, sdk, f"30 2 {night.day} {night.month} *")
    there = [each for each in found if each.astimezone(BERLIN).date() == night]
    assert [(each.hour, each.astimezone(BERLIN).hour) for each in there] == [(1, 2)]


def test_a_run_outside_of_these_hours_keeps_its_local_time(
    backend: TemporalBackend, sdk: Sdk
) -> None:
    night = last_sunday(3)
    days = f"{night.day - 1}-{night.day}"
    found = runs(backend, sdk, f"30 5 {days} 3 *")
    there = [each.astimezone(BERLIN) for each in found]
    assert {(each.hour, each.minute) for each in there} == {(5, 30)}
    assert [each.hour for each in found[:2]] == [4, 3]
