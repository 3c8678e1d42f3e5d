"""`connect`: from a URL to a backend.

A backend goes by its URL's scheme, which is an entry point of the group `onward.backends`, with a
dot where the scheme has a plus. It names a function that takes the whole URL and gives the backend,
or raises ValueError for what makes no sense in it: that is how a third party's plugs in.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, NoReturn, TypedDict, TypeVar, cast, get_type_hints
from urllib.parse import SplitResult, unquote, urlencode, urlsplit

from returns.result import Failure, Result, Success

from onward.backend import Backend
from onward.fault import Misconfigured

if TYPE_CHECKING:
    from onward.backends.celery.backend import CeleryBackend
    from onward.backends.local import Local

T = TypeVar("T")

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_KINDS = {int: "a whole number: write {}=4", float: "a number: write {}=60"}


def connect(url: str, /) -> Result[Backend, Misconfigured]:
    """The backend at a URL.

    `local://`, `celery+redis://`, `celery+amqp://`, `celery+rediss://` and `celery+amqps://` (both
    over TLS), and `celery+memory://` are there; installed packages may bring others. Nothing is
    asked of the engine yet. For Celery, the environment's `ONWARD_SIGNING_KEYS` has the keys that
    calls are signed with, with commas between them.

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
        message = f"there is no backend {_instead_of(scheme, known)}"
    else:
        try:
            return Success(known[scheme].load()(url))
        except ModuleNotFoundError as missing:
            package = str(missing.name).partition(".")[0]
            message = f"{package} is not installed: {_installed_by(known[scheme])}"
        except ValueError as problem:
            message = str(problem)
    return Failure(Misconfigured(f"{scheme}://", message))


def split(url: str, /) -> SplitResult:
    """A URL in its parts.

    Raises:
        ValueError: If a password that is not percent-encoded may be spread over them; the text
            shows nothing of it.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - it is looked at only when it is asked for
    except ValueError:
        _refuse_unencoded()
    if parts.fragment or "@" in parts.path:
        _refuse_unencoded()
    return parts


def parameters(url: str, known: type[T], /) -> T:
    """What a URL's query says.

    Args:
        url: The URL.
        known: A TypedDict of the parameters that there are, each an int, a float or a str.

    Raises:
        ValueError: If it says anything else; the text shows no password.
    """
    kinds = get_type_hints(known)
    said = [part.partition("=") for part in split(url).query.split("&") if part]
    unknown = [name for name, _, _ in said if name not in kinds]
    if unknown:
        # What is named must not be a piece of a password, as is what stands before a stray @.
        texts = [name if "://" in unquote(text) else name + text for name, _, text in said]
        if "@" in unquote(" ".join(texts)):
            _refuse_unencoded()
        raise ValueError(f"there is no parameter {_instead_of(unknown[0], kinds)}")
    values: dict[str, object] = {}
    for name, _, text in said:
        if name in values:
            raise ValueError(f"{name} is there twice")
        try:
            values[name] = kinds[name](text if "://" in text else unquote(text))
        except ValueError:
            raise ValueError(f"{name} is {_KINDS[kinds[name]].format(name)}") from None
    return cast(T, values)


class _Local(TypedDict, total=False):
    workers: int
    keep: float


class _Memory(TypedDict, total=False):
    queue: str


class _Celery(_Memory, total=False):
    result_backend: str
    keep: float


class _CeleryOverTls(_Celery, total=False):
    ssl_ca_certs: str
    ssl_certfile: str
    ssl_keyfile: str


def local_at(url: str) -> Local:
    """The embedded backend, as a URL asks for it."""
    from onward.backends.local import local

    _refuse_host(url)
    return local(**parameters(url, _Local))


def celery_at(url: str) -> CeleryBackend:
    """Celery, on the broker of a URL."""
    from onward.backends.celery import celery
    from onward.backends.celery.app import verified

    parts = split(url)
    transport = parts.scheme.partition("+")[2]
    if transport == "memory":
        _refuse_host(url)
        return celery("memory://", **parameters(url, _Memory), signing_keys=_signing_keys())
    is_rabbitmq = transport in ("amqp", "amqps")
    said = parameters(url, _CeleryOverTls if transport in ("rediss", "amqps") else _Celery)
    tls = {name: value for name, value in said.items() if name.startswith("ssl_")}
    given = cast(_Celery, {name: value for name, value in said.items() if name not in tls})
    broker = f"{transport}://{parts.netloc}{parts.path}"
    if is_rabbitmq and "result_backend" not in given:
        raise ValueError(
            "RabbitMQ keeps no ledger of calls: add a Redis that does, as in "
            "?result_backend=redis://localhost:6379/0"
        )
    options: dict[str, object] = {}
    if transport == "amqps":
        files = {name.removeprefix("ssl_"): file for name, file in tls.items()}
        options["broker_use_ssl"] = verified() | files
    if not is_rabbitmq:
        broker = _redis(f"{broker}?{urlencode(tls)}")
    if "result_backend" in given:
        given["result_backend"] = _redis(given["result_backend"])
    return celery(broker, **given, options=options, signing_keys=_signing_keys())


def _signing_keys() -> list[bytes] | None:
    """What the environment has for keys. A URL has none: it is shown and logged too easily."""
    said = os.environ.get("ONWARD_SIGNING_KEYS")
    if said is None:
        return None
    return [key.strip().encode() for key in said.split(",") if key.strip()]


def _redis(url: str) -> str:
    """The URL of a Redis as Celery takes it; raises ValueError for another one."""
    parts = split(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("result_backend is a Redis: redis://localhost:6379/0, or rediss://")
    if not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError("what follows the host of a Redis is the number of a database, as in /0")
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (
        f"?{parts.query}" if parts.query else ""
    )


def _refuse_host(url: str) -> None:
    parts = split(url)
    if parts.netloc or parts.path.strip("/"):
        raise ValueError(f"it is in this process, and has no host: write {parts.scheme}://")


def _refuse_unencoded() -> NoReturn:
    raise ValueError(
        "it makes no sense as a URL: in user names and passwords, percent-encode what is neither "
        "a letter nor a digit (@ is %40, / is %2F); a port is a number"
    ) from None


def _instead_of(word: str, known: Collection[str]) -> str:
    """What is not known, what is like it, and what is known."""
    like = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f" (did you mean {like[0]!r}?)" if like else ""
    return f"{word!r}{hint}. Known: {', '.join(sorted(known))}"


def _installed_by(entry: EntryPoint) -> str:
    """The command that installs what an entry point needs."""
    assert entry.dist is not None  # it was found in one
    extra = entry.name.partition(".")[0]
    if extra in entry.dist.metadata.get_all("Provides-Extra", []):
        return f'pip install "{entry.dist.name}[{extra}]"'
    return f"pip install {entry.dist.name}"
