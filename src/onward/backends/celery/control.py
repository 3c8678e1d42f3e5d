"""Celery's remote control, where it means more to a call than to a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.utils.functional import maybe_list
from celery.worker import state as running
from celery.worker.control import Panel


def answer(app: Celery, cancel_call: Callable[[str], object]) -> None:
    """Has workers of an app end a call as cancelled when one of its tasks is revoked.

    Args:
        app: The app.
        cancel_call: Ends a call by its id. Of ids of other things it does nothing.
    """

    def revoke(state: Any, task_id: Any, **options: Any) -> Any:
        ids = [id for id in maybe_list(task_id) or [] if isinstance(id, str)]
        requests = [running.requests.get(id) for id in ids]
        answered = Panel.data["revoke"](state, task_id, **options)
        calls = {request.root_id for request in requests if request and request.root_id}
        for id in calls.union(ids):
            cancel_call(id)
        return answered

    def terminate(state: Any, signal: Any, task_id: Any, **options: Any) -> Any:
        return revoke(state, task_id, terminate=True, signal=signal)

    control: Any = app.control
    mailbox = control.mailbox
    make = type(mailbox).Node

    def node(*args: Any, handlers: Any = None, **options: Any) -> Any:
        ours = {**(handlers or {}), "revoke": revoke, "terminate": terminate}
        return make(mailbox, *args, handlers=ours, **options)

    mailbox.Node = node
