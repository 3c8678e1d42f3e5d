"""`connect`: from a URL to a backend.

A backend goes by its URL's scheme, which is an entry point of the group `onward.backends`, with a
dot where the scheme has a plus. It names a function that takes the whole URL and gives the backend,
or raises ValueError for what makes no sense in it: that is how a third party's plugs in.
"""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, TypedDict

from returns.result import Failure, Result, Success

from onward.backend import Backend
from onward.fault import Misconfigured
from onward.url import instead_of, parameters, refuse_host

if TYPE_CHECKING:
    from onward.backends.local import Local

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


def connect(url: str, /) -> Result[Backend, Misconfigured]:
    """The backend at a URL.

    `local://`, `celery+redis://`, `celery+amqp://`, `celery+rediss://` and `celery+amqps://` (both
    over TLS), `celery+memory://` and `temporal://` are there; installed packages may bring others.
    Nothing is asked of the engine yet. What is secret stands in the environment: for Celery,
    `ONWARD_SIGNING_KEYS` has the keys that calls are signed with, with commas between them; for
    Temporal, `TEMPORAL_API_KEY` has the API key.

    What only some backends can do, `isinstance(backend, Cancels)` and
    `isinstance(backend, Schedules)` tell, at run time and to type checkers.

    Args:
        url: Where it is, and what it is told: `celery+redis://localhost:6379/0?queue=mail`. What a
            parameter says is percent-encoded; but a URL may stand there as it is.

    Returns:
        The backend; or what is wrong with the URL, which no password is ever in.

    Example:
        >>> from onward import connect
        >>> connect("local://?workers=4")
        <Success: local(workers=4)>
        >>> print(connect("local://?worker=4").failure().message)
        there is no parameter 'worker' (did you mean 'workers'?). Known: keep, workers
    """
    if not isinstance(url, str):
        raise TypeError(f"connect takes a URL as a text, not {type(url).__name__}")
    found = _SCHEME.match(url)
    if found is None:
        message = "it starts with a scheme: local://, celery+redis://localhost:6379/0"
        return Failure(Misconfigured("a backend's URL", message))
    scheme = found[1].lower()
    known = {entry.name.replace(".", "+"): entry for entry in entry_points(group="onward.backends")}
    if scheme not in known:
        message = f"there is no backend {instead_of(scheme, known)}"
    else:
        try:
            return Success(known[scheme].load()(url))
        except ModuleNotFoundError as missing:
            package = str(missing.name).partition(".")[0]
            message = f"{package} is not installed: {_installed_by(known[scheme])}"
        except ValueError as problem:
            message = str(problem)
    return Failure(Misconfigured(f"{scheme}://", message))


class _Local(TypedDict, total=False):
    workers: int
    keep: float


def local_at(url: str) -> Local:
    """The embedded backend, as a URL asks for it."""
    from onward.backends.local import local

    refuse_host(url)
    return local(**parameters(url, _Local))


def _installed_by(entry: EntryPoint) -> str:
    """The command that installs what an entry point needs."""
    assert entry.dist is not None  # it was found in one
    extra = entry.name.partition(".")[0]
    if extra in entry.dist.metadata.get_all("Provides-Extra", []):
        return f'pip install "{entry.dist.name}[{extra}]"'
    return f"pip install {entry.dist.name}"
