"""A step or flow that the engine assigned to a worker, until the worker answers."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

from hatchet_sdk.contracts.dispatcher_pb2 import AssignedAction

from onward.backends.hatchet.declare import Job
from onward.backends.hatchet.evaluation import Evaluation
from onward.backends.hatchet.message import LastAttempt
from onward.backends.hatchet.registration import Registration
from onward.backends.hatchet.results import Share
from onward.outcome import Faulted
from onward.plan import Plan


@dataclass(eq=False)
class Assignment:
    """A step or flow that the engine assigned to the worker, and its state.

    While the engine evicts a flow, it may assign the flow to the same worker again: `again`.
    """

    action: AssignedAction
    job: Job
    worker: Registration
    is_cancelled: threading.Event = field(default_factory=threading.Event)
    last: LastAttempt | None = None
    is_returned: bool = False
    is_late: bool = False
    is_evicting: bool = False
    again: AssignedAction | None = None
    name: str = ""
    plan: Plan | None = None
    share: Share | None = None
    evaluation: Evaluation | None = None
    extended_at: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] = field(init=False)

    def end(self, outcome: Faulted) -> bool:
        """Ends a flow, except for its cleanups; False if it has none to run."""
        return self.evaluation is not None and self.evaluation.end(outcome)
