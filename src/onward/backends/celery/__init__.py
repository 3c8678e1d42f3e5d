"""The Celery backend: runs flows as chains, groups and chords, on Redis or RabbitMQ."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onward.backends.celery.backend import CeleryBackend
    from onward.backends.celery.factory import celery
    from onward.backends.celery.reconciler import reconcile

__all__ = ["CeleryBackend", "celery", "reconcile"]

_MODULES = {"CeleryBackend": "backend", "celery": "factory", "reconcile": "reconciler"}
"""The module of each name. Celery is imported only when one of them is used."""


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
