"""The recipe for Sentry, as it stands on its page, with the real SDK and no network."""

from pathlib import Path
from typing import Any

import pytest
from returns.result import Failure, Result

from onward import Raised, TimedOut, local, run, task
from onward.observe import observed
from tests.docs.blocks import blocks

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


@task
def fails(n: int) -> int:
    raise ValueError(f"{n} is no good")


@task(timeout=0.05)
async def hangs(n: int) -> int:
    import asyncio

    await asyncio.sleep(30)
    return n


@task
def refuses(n: int) -> Result[int, str]:
    return Failure("no")


def test_the_recipe_sends_what_was_raised_once_and_no_domain_error() -> None:
    sentry = pytest.importorskip("sentry_sdk")
    [recipe] = [block for block in blocks(PAGE) if "class Sentry" in block.code]
    names: dict[str, Any] = {}
    exec(compile(recipe.code, str(PAGE), "exec"), names)
    events: list[dict[str, Any]] = []

    class Kept(sentry.Transport):  # type: ignore[misc, name-defined]  # it may not be installed
        def capture_envelope(self, envelope: Any) -> None:
            event = envelope.get_event()
            if event is not None:
                events.append(event)

    sentry.init(dsn="https://key@localhost/1", transport=Kept)
    try:
        on = observed(local(), names["Sentry"]())
        assert isinstance(run(fails(7), on=on).failure(), Raised)
        assert isinstance(run(hangs(7), on=on).failure(), TimedOut)
        assert run(refuses(7), on=on) == Failure("no")
        sentry.flush()
    finally:
        sentry.init()
    raised, late = events
    assert raised["exception"]["values"][-1]["value"] == "7 is no good"
    assert raised["tags"]["onward.task"] == "fails"
    assert raised["contexts"]["onward"]["attempt"] == 1
    assert late["message"].startswith("hangs: no value after 0.05 s")
