"""A bridge's worker hears what those of its two backends hear."""

from __future__ import annotations

from contextlib import closing

import pytest

from onward import Catalog, local
from onward.backend import Hearing, Hears
from onward.backend.support import hearing_of
from onward.bridges import failover, routed
from onward.bridges.serving import BothWorkers


class Heard:
    """A worker that hears so much."""

    def __init__(self, hearing: Hearing | None) -> None:
        self._hearing = hearing

    def hearing(self) -> Hearing | None:
        return self._hearing

    def stop(self, grace: float = 30.0) -> None:
        """Does nothing."""

    def wait(self, timeout: float | None = None) -> bool:
        return True


WELL, DEAF = Hearing(1.0, 10.0, slots=4), Hearing(90.0, 20.0, slots=2)


@pytest.mark.parametrize("pair", [(WELL, DEAF), (DEAF, WELL)])
def test_a_bridge_is_deaf_if_one_engine_is_not_heard(pair: tuple[Hearing, Hearing]) -> None:
    """One that fails over is deaf if neither is."""
    workers = [*map(Heard, pair)]
    assert BothWorkers(workers).hearing() == Hearing(90.0, 20.0, slots=6)
    assert BothWorkers(workers, is_one_enough=True).hearing() == Hearing(1.0, 10.0, slots=6)


def test_a_worker_that_cannot_tell_is_left_out() -> None:
    assert BothWorkers([Heard(None), Heard(DEAF)]).hearing() == DEAF
    assert BothWorkers([Heard(None), Heard(None)]).hearing() is None


def test_the_worker_of_a_bridge_says_what_it_hears() -> None:
    for bridge in (routed(local(), local(), by=0), failover(local(), local())):
        with closing(bridge):
            worker = bridge.serve(Catalog()).unwrap()
            assert isinstance(worker, Hears)
            heard = hearing_of(worker)
            assert heard is not None
            assert not heard.is_deaf
            worker.stop(0)
