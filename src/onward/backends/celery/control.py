"""Extends Celery's remote control: to revoke one of a call's tasks cancels the call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from celery import Celery
from celery.utils.functional import maybe_list
from celery.worker import state as running
from celery.worker.control import Panel
from kombu.pidbox import Node

_JSON = (str, int, float, list, type(None))

_LOGGER = logging.getLogger("onward.celery")


class _Node(Node):
    """A worker's mailbox, which ignores what is not a command."""

    def __init__(self, *args: Any, ours: Mapping[str, Any], **options: Any) -> None:
        super().__init__(*args, **options)
        self.handlers = {**(self.handlers or {}), **ours}

    def handle_message(self, body: Any, message: Any = None) -> Any:
        """Like kombu's. Otherwise Celery would open a new mailbox after each unreadable command."""
        try:
            return super().handle_message(body, message)
        except Exception as problem:
            _LOGGER.warning("refused a remote command that cannot be read: %r", problem)
            return None


def extend(
    app: Celery, cancel_call: Callable[[str], object], on_shutdown: Callable[[], object]
) -> None:
    """Extends the remote control of an app's worker.

    Args:
        app: The worker's app.
        cancel_call: Cancels a call by its id; does nothing for other ids.
        on_shutdown: Called when the worker is told to stop.
    """

    def revoke(state: Any, task_id: Any, **options: Any) -> Any:
        ids = {id for id in maybe_list(task_id) or [] if isinstance(id, str)}
        here = [each for each in running.requests.values() if ids & {each.id, each.root_id}]
        tasks = ids.union(each.id for each in here)
        answered = Panel.data["revoke"](state, list(tasks), **options)
        for id in ids.union(each.root_id for each in here if each.root_id):
            cancel_call(id)
        return answered

    def terminate(state: Any, signal: Any, task_id: Any, **options: Any) -> Any:
        return revoke(state, task_id, terminate=True, signal=signal)

    def shutdown(state: Any, **options: Any) -> Any:
        on_shutdown()
        return Panel.data["shutdown"](state, **options)

    def stats(state: Any, **options: Any) -> Any:
        found = Panel.data["stats"](state, **options)
        broker = found.get("broker", {})
        settings: dict[str, object] = broker.get("transport_options", {})
        # Some are objects of ours, which no answer can carry.
        broker["transport_options"] = {
            name: value for name, value in settings.items() if isinstance(value, _JSON)
        }
        return found

    ours = {"revoke": revoke, "terminate": terminate, "shutdown": shutdown, "stats": stats}
    control: Any = app.control
    control.mailbox.node_cls = partial(_Node, ours=ours)
