"""Rolling deploys: workers of two releases side by side, and then only of the newer one."""

from __future__ import annotations

from contextlib import ExitStack

from returns.result import Success

from onward import Catalog, Signal, awaits, result, send, status, submit, task
from onward.fault import Unknown
from tests.hatchet.served import Engine, fresh, serving
from tests.hatchet.test_waits import until

GO = Signal("go", int)


@task(name="price")
def price(n: int) -> int:
    return n + 1


@task(name="price")
def newer_price(n: int, extra: int = 0) -> int:
    return n + 1 + extra


@task
def pack(n: int) -> str:
    """The newer release does not have it."""
    return f"packed {n}"


@task
def label(n: int) -> str:
    """The older release does not have it."""
    return f"labelled {n}"


ship = (price >> pack).named("ship")
newer_ship = (newer_price >> label).named("ship")
approved = price >> awaits(GO) >> price
approved_and_packed = price >> awaits(GO) >> pack

older = Catalog(price, pack, ship)
newer = Catalog(newer_price, label, newer_ship)


def test_two_releases_serve_side_by_side_until_the_older_one_ends(engine: Engine) -> None:
    """Each call runs as its caller's release says, on whichever worker has its tasks."""
    namespace = fresh()
    with (
        serving(engine, newer, namespace=namespace, unserved=1.0) as new,
        ExitStack() as until_deployed,
    ):
        old = until_deployed.enter_context(serving(engine, older, namespace=namespace))
        of_old = [submit(ship(n), on=old).unwrap() for n in range(3)]
        of_new = [submit(newer_ship(n), on=new).unwrap() for n in range(3)]
        for n in range(3):
            assert result(of_old[n], on=old, timeout=120) == Success(f"packed {n + 1}")
            assert result(of_new[n], on=new, timeout=120) == Success(f"labelled {n + 1}")
        waiting = [submit(flow(1), on=old).unwrap() for flow in (approved, approved_and_packed)]
        for ref in waiting:
            until(lambda id=ref: status(id, on=new).unwrap().state == "waiting")  # type: ignore[misc]
        until_deployed.close()
        for ref in waiting:
            assert send(ref, GO, 2, on=new) == Success(None)
        goes_on, has_no_task = waiting
        assert result(goes_on, on=new, timeout=120) == Success(3)
        for ref in (has_no_task, submit(pack(1), on=new).unwrap()):
            fault = result(ref, on=new, timeout=120).failure()
            assert isinstance(fault, Unknown)
            assert fault.task == "pack"
