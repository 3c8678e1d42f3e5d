"""The diagnoses of two engines as one."""

from __future__ import annotations

from collections import Counter

from onward.backend import Diagnosis


def merged(first: Diagnosis, second: Diagnosis) -> Diagnosis:
    """The condition of both engines.

    Args:
        first: That of the first one, whose default queue and clock it gives.
        second: That of the second one.
    """
    return Diagnosis(
        queue=first.queue,
        findings=first.findings + second.findings,
        workers=first.workers + second.workers,
        waiting=dict(Counter(first.waiting) + Counter(second.waiting)),
        clock=first.clock if first.clock is not None else second.clock,
        tells_workers=first.tells_workers and second.tells_workers,
        knows_capitals=first.knows_capitals and second.knows_capitals,
        knows_tasks=first.knows_tasks and second.knows_tasks,
        waiting_tasks=dict(Counter(first.waiting_tasks) + Counter(second.waiting_tasks)),
        running=dict(Counter(first.running) + Counter(second.running)),
        oldest={
            what: max(first.oldest.get(what, 0.0), second.oldest.get(what, 0.0))
            for what in {**first.oldest, **second.oldest}
        },
        keeps=min((each for each in (first.keeps, second.keeps) if each is not None), default=None),
    )
