"""The settings of bridges, by URL and file: the URLs of two engines, and what decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, cast

from msgspec.structs import replace
from returns.result import Failure

from onward.backend import Backend
from onward.backend.additions import additions_of, set_additions
from onward.bridges.dial import By
from onward.engines import Engine
from onward.url import parameters, split


class RoutedSettings(TypedDict, total=False):
    """See `onward.bridges.routed`. `dial` is the path of a file, in place of `by`."""

    old: str
    new: str
    by: float
    dial: str
    name: str


def _routed(settings: RoutedSettings) -> Backend:
    from onward.bridges.routing import routed

    if ("by" in settings) == ("dial" in settings):
        raise ValueError("write by, a percentage, or dial, the path of a file: one of them")
    by: By = Path(settings["dial"]) if "dial" in settings else settings.get("by", 0.0)
    old, new = connected("old", settings.get("old")), connected("new", settings.get("new"))
    return reachable(routed(old, new, by=by, name=settings.get("name", "new")))


class FailoverSettings(TypedDict, total=False):
    """See `onward.bridges.failover`."""

    first: str
    second: str
    claims: str
    failures: int
    reset: float
    fresh: float
    name: str


class _Breaker(TypedDict, total=False):
    failures: int
    reset: float
    fresh: float
    name: str


def _failover(settings: FailoverSettings) -> Backend:
    from onward.bridges.failing_over import failover

    others = {name: value for name, value in settings.items() if name in _Breaker.__annotations__}
    first = connected("first", settings.get("first"))
    second = connected("second", settings.get("second"))
    claims = connected("claims", settings["claims"]) if "claims" in settings else None
    try:
        return reachable(failover(first, second, claims=claims, **cast("_Breaker", others)))
    except TypeError as problem:
        raise ValueError(str(problem)) from None


def connected(name: str, url: str | None) -> Backend:
    """The backend of a bridge's setting; raises ValueError, which shows no password."""
    from onward.config import connect

    if not url:
        raise ValueError(f"{name} is missing: it is the URL of an engine")
    made = connect(url)
    if isinstance(made, Failure):
        raise ValueError(f"{name}: {made.failure().message}")
    return made.unwrap()


def reachable(bridge: Backend) -> Backend:
    """Lets `connect` give a bridge the address that it was connected by."""
    set_additions(bridge, replace(additions_of(bridge), reach=None))
    return bridge


def settings_of(known: type[Any]) -> Callable[[str], Any]:
    """Reads the settings of a bridge from a URL, such as `routed://?old=...&new=...&by=25`."""

    def from_url(url: str) -> Any:
        parts = split(url)
        if parts.netloc or parts.path.strip("/"):
            raise ValueError(
                f"a bridge has no host: write {parts.scheme}://? and its settings, and "
                "percent-encode URLs that have parameters of their own"
            )
        return parameters(url, known)

    return from_url


FAILOVER = Engine(FailoverSettings, _failover, settings_of(FailoverSettings))
ROUTED = Engine(RoutedSettings, _routed, settings_of(RoutedSettings))
