"""A canvas of somebody's own Celery app runs Onward's calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from onward.bridges.celery import celery_signature
from tests.bridges.flows import breaks, halve, halved, hold, inc, total
from tests.engines.process import until


def price(app: Celery, item: str) -> Any:
    return app.signature("shop.price", (item,))


def bill(app: Celery) -> Any:
    return app.signature("shop.bill")


def test_a_flow_takes_the_value_of_the_task_before(shop: Celery) -> None:
    canvas = chain(price(shop, "abc"), celery_signature(halved, app=shop), bill(shop))
    assert canvas.apply_async().get(timeout=60) == "2 cents"


def test_a_call_has_its_own_arguments(shop: Celery) -> None:
    canvas = chain(price(shop, "abc"), celery_signature(inc(41), app=shop), bill(shop))
    assert canvas.apply_async().get(timeout=60) == "42 cents"


def test_calls_are_the_header_of_a_chord(shop: Celery) -> None:
    calls = group(celery_signature(inc(n), app=shop) for n in range(3))
    assert chord(calls, celery_signature(total, app=shop)).apply_async().get(timeout=60) == 6


@pytest.mark.parametrize(("call", "said"), [(halve(3), "3 is odd"), (breaks(7), "broke at 7")])
def test_what_a_call_fails_with_fails_the_task(shop: Celery, call: Any, said: str) -> None:
    with pytest.raises(Exception, match=said):
        celery_signature(call, app=shop).apply_async().get(timeout=60)


def test_what_the_flow_does_not_take_fails_the_task(shop: Celery) -> None:
    canvas = chain(price(shop, "abc"), bill(shop), celery_signature(inc, app=shop))
    with pytest.raises(Exception, match="inc"):
        canvas.apply_async().get(timeout=60)


def test_who_revokes_the_task_cancels_the_call(shop: Celery, tmp_path: Path) -> None:
    file = tmp_path / "file"
    sent = celery_signature(hold(str(file)), app=shop).apply_async()
    until(file.exists, within=120, otherwise=lambda: "it does not run")
    sent.revoke()
    until(
        lambda: file.read_text() == "cancelled", within=120, otherwise=lambda: "it is not cancelled"
    )


def test_it_holds_no_slot_while_it_waits(shop: Celery, tmp_path: Path) -> None:
    """The worker has one slot."""
    file = tmp_path / "file"
    sent = celery_signature(hold(str(file)), app=shop).apply_async()
    until(file.exists, within=120, otherwise=lambda: "it does not run")
    assert price(shop, "abc").apply_async().get(timeout=60) == 3
    sent.revoke()


def test_only_what_takes_one_value_follows_a_task(shop: Celery) -> None:
    with pytest.raises(TypeError, match="only tasks and flows"):
        celery_signature(2, app=shop)  # type: ignore[arg-type]  # on purpose
