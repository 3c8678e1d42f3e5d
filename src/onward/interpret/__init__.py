"""The interpreters for blocking callers: they run, submit and inspect calls."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from onward.interpret.outcomes import cancel, result, results, send, status
from onward.interpret.running import check, run, submit, submit_all
from onward.interpret.schedules import (
    pause_schedule,
    resume_schedule,
    schedule,
    schedules,
    unschedule,
)
from onward.interpret.work import work
from onward.lazy import on_first_use

if TYPE_CHECKING:
    from onward.interpret.listing import calls, cancel_all, forget, resume_all
    from onward.interpret.repair import fork, history, move, replay, resume

__all__ = [
    "calls",
    "cancel",
    "cancel_all",
    "check",
    "forget",
    "fork",
    "history",
    "move",
    "pause_schedule",
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
    "status",
    "submit",
    "submit_all",
    "unschedule",
    "work",
]

__getattr__: Callable[[str], object] = on_first_use(
    __name__,
    {
        "onward.interpret.listing": ("calls", "cancel_all", "forget", "resume_all"),
        "onward.interpret.repair": ("fork", "history", "move", "replay", "resume"),
    },
)
