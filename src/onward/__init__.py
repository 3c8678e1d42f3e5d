"""Typed tasks, composed with `>>`, run in-process or on Celery, Hatchet or Temporal."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from onward.answers import answer, unwrap
from onward.backend import (
    Backend,
    Cancels,
    Forgets,
    Histories,
    Lists,
    Moves,
    Schedule,
    Schedules,
    Signals,
    Status,
)
from onward.context import Context, Progress, current, progress
from onward.fault import (
    BadPayload,
    Cancelled,
    Conflict,
    Expired,
    Fault,
    Lost,
    Misconfigured,
    Moved,
    Raised,
    TimedOut,
    TooLarge,
    Unavailable,
    Unknown,
    Unsupported,
)
from onward.flows.combinators import flow, fused, given, identity
from onward.flows.define import task
from onward.flows.flow import Call, Flow, Ref, Step, Task
from onward.interpret import (
    cancel,
    check,
    pause_schedule,
    result,
    results,
    resume_schedule,
    run,
    schedule,
    schedules,
    send,
    status,
    submit,
    submit_all,
    unschedule,
    work,
)
from onward.isolation import Isolation
from onward.lazy import on_first_use
from onward.limit import Limit
from onward.policy import Backoff, Constant, Exponential, Policy, Retry
from onward.secret import Secret
from onward.unanswered import Unanswered

if TYPE_CHECKING:
    from onward import aio
    from onward.backends.local import local
    from onward.catalog import Catalog
    from onward.config import connect
    from onward.explaining import explain
    from onward.flows.cases import Cases, case
    from onward.flows.fanouts import Items, each, together
    from onward.flows.limiting import limited
    from onward.flows.passing import fixed, keep, spread, tee
    from onward.flows.signals import Signal
    from onward.flows.using import uses
    from onward.flows.waiting import awaits, sleep
    from onward.health import Health
    from onward.interpret.histories import (
        AttemptHistory,
        History,
        Replay,
        ReplayedStep,
        StepHistory,
    )
    from onward.interpret.listed import ListedCall
    from onward.interpret.listing import calls, cancel_all, forget, resume_all
    from onward.interpret.repair import fork, history, move, replay, resume
    from onward.middleware import Middleware
    from onward.resource import Resource

__all__ = [
    "AttemptHistory",
    "Backend",
    "Backoff",
    "BadPayload",
    "Call",
    "Cancelled",
    "Cancels",
    "Cases",
    "Catalog",
    "Conflict",
    "Constant",
    "Context",
    "Expired",
    "Exponential",
    "Fault",
    "Flow",
    "Forgets",
    "Health",
    "Histories",
    "History",
    "Isolation",
    "Items",
    "Limit",
    "ListedCall",
    "Lists",
    "Lost",
    "Middleware",
    "Misconfigured",
    "Moved",
    "Moves",
    "Policy",
    "Progress",
    "Raised",
    "Ref",
    "Replay",
    "ReplayedStep",
    "Resource",
    "Retry",
    "Schedule",
    "Schedules",
    "Secret",
    "Signal",
    "Signals",
    "Status",
    "Step",
    "StepHistory",
    "Task",
    "TimedOut",
    "TooLarge",
    "Unanswered",
    "Unavailable",
    "Unknown",
    "Unsupported",
    "aio",
    "answer",
    "awaits",
    "calls",
    "cancel",
    "cancel_all",
    "case",
    "check",
    "connect",
    "current",
    "each",
    "explain",
    "fixed",
    "flow",
    "forget",
    "fork",
    "fused",
    "given",
    "history",
    "identity",
    "keep",
    "limited",
    "local",
    "move",
    "pause_schedule",
    "progress",
    "replay",
    "result",
    "results",
    "resume",
    "resume_all",
    "resume_schedule",
    "run",
    "schedule",
    "schedules",
    "send",
    "sleep",
    "spread",
    "status",
    "submit",
    "submit_all",
    "task",
    "tee",
    "together",
    "unschedule",
    "unwrap",
    "uses",
    "work",
]


# A program pays only for what it uses. Some of these also need asyncio, and a program that defines
# tasks and submits them to an engine whose client blocks does not.
__getattr__: Callable[[str], object] = on_first_use(
    __name__,
    {
        "onward": ("aio",),
        "onward.backends.local": ("local",),
        "onward.catalog": ("Catalog",),
        "onward.config": ("connect",),
        "onward.explaining": ("explain",),
        "onward.flows.cases": ("Cases", "case"),
        "onward.flows.fanouts": ("Items", "each", "together"),
        "onward.flows.limiting": ("limited",),
        "onward.flows.passing": ("fixed", "keep", "spread", "tee"),
        "onward.flows.signals": ("Signal",),
        "onward.flows.using": ("uses",),
        "onward.flows.waiting": ("awaits", "sleep"),
        "onward.health": ("Health",),
        "onward.interpret.histories": (
            "AttemptHistory",
            "History",
            "Replay",
            "ReplayedStep",
            "StepHistory",
        ),
        "onward.interpret.listed": ("ListedCall",),
        "onward.interpret.listing": ("calls", "cancel_all", "forget", "resume_all"),
        "onward.interpret.repair": ("fork", "history", "move", "replay", "resume"),
        "onward.middleware": ("Middleware",),
        "onward.resource": ("Resource",),
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
