"""Celery's result backend in Redis, used only to count the finished branches of chords."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.backends.redis import RedisBackend


class Results(RedisBackend):
    """Stores no results and subscribes to none: the ledger has the outcomes of calls."""

    expires: int

    def _get_pool(self, **params: Any) -> Any:
        """Like Celery's, but supports a Redis behind Sentinels."""
        primary = self._transport_options.get("primary_finder")  # type: ignore[attr-defined]  # not in the stubs
        if primary is not None:
            params |= primary.options
        return super()._get_pool(**params)  # type: ignore[misc]  # not in the stubs

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Does nothing. Celery's own subscribes to the result of each message."""

    def add_pending_result(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        """Does nothing, because no caller waits for a result here."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Does nothing, because no caller waits for a result here."""
        return result

    def store_result(self, task_id: str, result: Any, *args: Any, **kwargs: Any) -> Any:
        """Does nothing: the ledger has the outcomes."""
        return result

    @property
    def _chord_cleanup_script(self) -> Callable[..., Any]:
        """Like Celery's, but its mark of a finished chord expires with the call's outcome."""
        script = super()._chord_cleanup_script  # type: ignore[misc]  # not in the stubs

        def clean_up(*, keys: Any, args: Any, client: Any) -> Any:
            token, seconds = args
            return script(keys=keys, args=[token, min(seconds, self.expires)], client=client)

        return clean_up
