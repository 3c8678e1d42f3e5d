"""Typed tasks, composed with `>>`, run in-process or on Celery, Hatchet or Temporal."""

from typing import TYPE_CHECKING

from onward.answers import answer, unwrap
from onward.backend import (
    Backend,
    Cancels,
    Forgets,
    Histories,
    Lists,
    Schedule,
    Schedules,
    Signals,
    Status,
)
from onward.catalog import Catalog
from onward.context import Context, Progress, current, progress
from onward.explaining import explain
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
from onward.flows.cases import Cases, case
from onward.flows.combinators import flow, fused, given, identity
from onward.flows.define import task
from onward.flows.fanouts import Items, each, together
from onward.flows.flow import Call, Flow, Ref, Step, Task
from onward.flows.passing import fixed, keep, spread, tee
from onward.flows.signals import Signal
from onward.flows.waiting import awaits, sleep
from onward.interpret import (
    calls,
    cancel,
    cancel_all,
    check,
    forget,
    fork,
    history,
    move,
    pause_schedule,
    replay,
    result,
    results,
    resume,
    resume_all,
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
from onward.policy import Backoff, Constant, Exponential, Policy, Retry
from onward.secret import Secret
from onward.unanswered import Unanswered

if TYPE_CHECKING:
    from onward import aio
    from onward.backends.local import local
    from onward.config import connect
    from onward.interpret.histories import (
        AttemptHistory,
        History,
        Replay,
        ReplayedStep,
        StepHistory,
    )
    from onward.interpret.listed import ListedCall

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
    "Histories",
    "History",
    "Items",
    "ListedCall",
    "Lists",
    "Lost",
    "Misconfigured",
    "Moved",
    "Policy",
    "Progress",
    "Raised",
    "Ref",
    "Replay",
    "ReplayedStep",
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
    "work",
]


def __getattr__(name: str) -> object:
    # Modules that need asyncio are imported on first use. A program that defines tasks and submits
    # them to an engine whose client blocks does not need it.
    import importlib

    if name in ("AttemptHistory", "History", "Replay", "ReplayedStep", "StepHistory"):
        return getattr(importlib.import_module("onward.interpret.histories"), name)
    if name == "ListedCall":
        return importlib.import_module("onward.interpret.listed").ListedCall
    if name == "local":
        return importlib.import_module("onward.backends.local").local
    if name == "connect":
        return importlib.import_module("onward.config").connect
    if name == "aio":
        return importlib.import_module("onward.aio")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
