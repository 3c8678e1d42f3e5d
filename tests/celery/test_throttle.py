"""What repeats is logged once a second for each cause, and nothing else is held back."""

import logging
from collections.abc import Iterator
from uuid import uuid4

import pytest

from onward.backends.celery.throttle import Throttle, throttled


class Now:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def logger(now: Now) -> Iterator[logging.Logger]:
    name = f"test.{uuid4().hex}"
    with throttled([name], Throttle(clock=now)):
        yield logging.getLogger(name)


def test_a_flood_is_a_line_a_second_which_says_how_many_it_stands_for(
    logger: logging.Logger, now: Now, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3000):
        now.seconds = 100.0 + number / 1000
        logger.warning("cannot reach %s", number)
    assert caplog.messages == [
        "cannot reach 0",
        "cannot reach 1000 (and 999 more like it)",
        "cannot reach 2000 (and 999 more like it)",
    ]


def test_causes_are_apart(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        logger.warning("one")
        logger.warning("another")
        for cause in ("a", "b"):
            logger.warning("cause %s", cause, extra={"cause": cause})
    assert caplog.messages == ["one", "another", "cause a", "cause b"]


def test_what_is_no_warning_always_passes(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(3):
        logger.info("step %d", number)
    assert caplog.messages == ["step 0", "step 1", "step 2"]


def test_it_ends_with_its_block(caplog: pytest.LogCaptureFixture) -> None:
    name = f"test.{uuid4().hex}"
    with throttled([name]):
        assert logging.getLogger(name).filters
    assert not logging.getLogger(name).filters


def test_of_more_causes_than_it_keeps_the_oldest_is_forgotten(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1_001):
        logger.warning("cause", extra={"cause": number})
    logger.warning("again", extra={"cause": 1_000})
    logger.warning("again", extra={"cause": 0})
    assert caplog.messages == ["cause"] * 1_001 + ["again"]


def test_a_traceback_is_shown_once_a_minute(
    logger: logging.Logger, now: Now, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(62):
        now.seconds += 1
        logger.error("it failed", exc_info=ValueError("why"))
    assert len(caplog.messages) == 62
    assert [bool(record.exc_info) for record in caplog.records].count(True) == 2
