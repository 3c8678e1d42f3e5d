"""Celery's results in Redis, of which only the counting of chords is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.backends.redis import RedisBackend


class Results(RedisBackend):
    """Subscribes to nothing: what comes of a call is waited for in the ledger."""

    expires: int

    def _get_pool(self, **params: Any) -> Any:
        """Celery's own, for a Redis that Sentinels watch over as well."""
        primary = self._transport_options.get("primary")  # type: ignore[attr-defined]  # not in the stubs
        if primary is not None:
            params |= primary.options
        return super()._get_pool(**params)  # type: ignore[misc]  # not in the stubs

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Celery subscribes here, at each message, to a result that nobody asks for."""

    def add_pending_result(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        """Nobody waits for it."""
        return result

    def remove_pending_result(self, result: Any) -> Any:
        """Nobody has waited for it."""
        return result

    def store_result(self, task_id: str, result: Any, *args: Any, **kwargs: Any) -> Any:
        """Nobody asks for it: the ledger has the outcomes."""
        return result

    @property
    def _chord_cleanup_script(self) -> Callable[..., Any]:
        """Celery's own, whose mark that a chord is done does not outlive the call's outcome."""
        script = super()._chord_cleanup_script  # type: ignore[misc]  # not in the stubs

        def clean_up(*, keys: Any, args: Any, client: Any) -> Any:
            token, seconds = args
            return script(keys=keys, args=[token, min(seconds, self.expires)], client=client)

        return clean_up
