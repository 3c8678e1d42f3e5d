"""`connect`, which makes a backend from a URL, a YAML file or the environment.

The name of a backend is an entry point in the group `onward.backends`, which names an
`onward.engines.Engine`. Other packages add backends in the same way. A plus in a URL's scheme is a
dot in the entry point's name. A section of a file is the part before that dot.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NoReturn, TypedDict

from returns.result import Failure, Result, Success

from onward.backend import Backend
from onward.backend.additions import additions_of
from onward.config.document import Entry, Section, read
from onward.config.document import settings as settings_in
from onward.config.reach import make_reachable
from onward.engines import Engine
from onward.fault import Misconfigured
from onward.sealing import sealing
from onward.settings import kinds, of_text, should_be
from onward.url import instead_of

_GROUP = "onward.backends"
_ENVIRONMENT = "the environment"
_SECRET_KEYS = "ONWARD_SECRET_KEYS"
"""The variable with the keys that encrypt secrets, separated by commas."""
_NAME = re.compile(r"[a-z][a-z0-9_-]*", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9]{24,}")
"""A likely token: no word of ours, and no likely name, has so many letters and digits in a row."""
_SDK_VARIABLES = {
    "CELERY_BROKER_URL": "celery",
    "HATCHET_CLIENT_TOKEN": "hatchet",
    "TEMPORAL_ADDRESS": "temporal",
}
"""The variables of the SDKs that choose an engine if none of ours is set."""


class _Choice(TypedDict):
    backend: str


def connect(source: str | Path | None = None, /) -> Result[Backend, Misconfigured]:
    """Makes the backend that a URL, a file or the environment names.

    The URLs begin with `local://`, `sqlite:///`, `celery+redis://`, `celery+amqp://`,
    `celery+rediss://` and `celery+amqps://` (both over TLS), `celery+sentinel://`,
    `celery+redis+socket://`, `celery+memory://`, `hatchet://` or `temporal://`. Installed packages
    may add others. `connect` does not contact the engine.

    `isinstance(backend, Cancels)` and `isinstance(backend, Schedules)` tell you and your type
    checker what the backend can do.

    Args:
        source: A URL, such as `celery+redis://localhost:6379/0?queue=mail`. Percent-encode the
            values of its parameters, except URLs. Or the path of a YAML file. Or nothing: then
            `ONWARD_URL` has a URL, or `ONWARD_CONFIG` has a path, or `ONWARD_BACKEND` or the SDKs'
            own variables choose the engine, and the SDKs' variables have the settings.

    Returns:
        The backend, or a `Misconfigured` that says what is wrong and shows no secret. It never
        raises.

    Example:
        >>> from onward import connect
        >>> connect("local://?workers=4")
        <Success: local(workers=4)>
        >>> print(connect("local://?worker=4").failure().message)
        there is no parameter 'worker' (did you mean 'workers'?). Known: keep, workers
    """
    try:
        if source is None:
            return Success(_reachable(_by_environment()))
        if isinstance(source, Path) or (isinstance(source, str) and _is_file(source)):
            return Success(_reachable(_by_file(Path(source))))
        return Success(_by_url(source))
    except _Refused as refused:
        return Failure(refused.fault)
    except Exception as problem:  # from another package's engine; its text may contain a secret
        message = f"the engine raised {type(problem).__name__} when its backend was made"
        return Failure(Misconfigured("connect", message))


def _reachable(backend: Backend, url: str = "") -> Backend:
    if not additions_of(backend).reach:
        make_reachable(backend, url, connect)
    return backend


class _Refused(Exception):
    """The reason why a source is refused."""

    def __init__(self, source: str, message: str) -> None:
        super().__init__()
        self.fault = Misconfigured(_redacted(source), _redacted(message))


def _redacted(text: str) -> str:
    """A printable text, without anything that looks like a token."""
    return _TOKEN.sub("***", text).encode("utf-8", "backslashreplace").decode()


def _is_file(source: str) -> bool:
    if _SCHEME.match(source):
        return False
    try:
        return source.endswith((".yaml", ".yml")) or Path(source).is_file()
    except (OSError, ValueError):  # not the name of a file
        return False


def _by_url(source: object) -> Backend:
    if not isinstance(source, str):
        raise _Refused("connect", f"it takes a URL or a path, not {type(source).__name__}")
    url = source.strip()
    found = _SCHEME.match(url)
    if found is None:
        message = (
            "it must start with a scheme, such as local:// or celery+redis://localhost:6379/0; the "
            "name of a file must end in .yaml"
        )
        raise _Refused("a backend's URL", message)
    scheme = found[1].lower()
    known = {name.replace(".", "+"): entry for name, entry in _installed().items()}
    if scheme not in known:
        raise _Refused(f"{scheme}://", f"there is no backend {instead_of(scheme, known)}")
    try:
        engine = _loaded(f"{scheme}://", known[scheme])
        _refuse_secrets(url, engine)
        settings = engine.from_url(url)
    except ValueError as problem:
        raise _Refused(f"{scheme}://", str(problem)) from None
    return _reachable(_made(f"{scheme}://", "", known[scheme], settings), url)


def _refuse_secrets(url: str, engine: Engine[dict[str, object]]) -> None:
    """Raises ValueError if a URL has a secret, because URLs are shown and logged."""
    names = {part.partition("=")[0] for part in url.partition("?")[2].split("&")}
    for setting, variable in engine.secrets.items():
        if setting in names:
            raise ValueError(f"{setting} has no place in a URL: set {variable}")


def _by_file(path: Path, expected: str | None = None) -> Backend:
    # A text that was not meant as a path may contain a secret.
    file = "the configuration" if "@" in str(path) else str(path)
    engines = _by_first_name()
    try:
        document = read(path)
        sections = {key: entry for key, entry in document.items() if key != "backend"}
        for section, entry in sections.items():
            if section not in engines:
                there = instead_of(section, ["backend", *engines])
                raise ValueError(f"line {entry.line}: there is no section {there}")
        name = _chosen(document, engines, expected)
        settings: dict[str, object] = {}
        for section, entry in sections.items():
            values = _section(section, entry)
            if section == name:
                known = _loaded(file, engines[name]).settings
                settings = settings_in(values, known, os.environ)
            else:
                _check_unused(values, engines[section])
    except ModuleNotFoundError:
        raise _Refused(file, 'PyYAML is not installed: pip install "onward[yaml]"') from None
    except ValueError as problem:
        raise _Refused(file, str(problem)) from None
    return _made(file, f"{name}: ", engines[name], settings)


def _chosen(document: Section, engines: Mapping[str, EntryPoint], expected: str | None) -> str:
    """The engine that a file names."""
    if "backend" not in document:
        raise ValueError("it names no backend: write backend: celery")
    entry = document["backend"]
    name = settings_in({"backend": entry}, _Choice, os.environ)["backend"]
    try:
        _check_name(name, engines)
    except ValueError as problem:
        raise ValueError(f"line {entry.line}: {problem}") from None
    if expected and name != expected:
        raise ValueError(
            f"line {entry.line}: backend differs from ONWARD_BACKEND: leave one of them out"
        )
    return name


def _section(name: str, entry: Entry) -> Section:
    if entry.value is None:
        return {}
    if not isinstance(entry.value, dict):
        raise ValueError(f"line {entry.line}: {name} needs its settings below it, one to a line")
    return entry.value


def _check_unused(section: Section, entry: EntryPoint) -> None:
    """Raises ValueError for an invalid section, although it is not in use."""
    try:
        engine = entry.load()
    except Exception:  # reported when the section is in use
        return
    if isinstance(engine, Engine):
        settings_in(section, engine.settings, None)


def _by_environment() -> Backend:
    url, file, name = (
        os.environ.get(variable, "")
        for variable in ("ONWARD_URL", "ONWARD_CONFIG", "ONWARD_BACKEND")
    )
    if url and file:
        _refuse("ONWARD_URL and ONWARD_CONFIG are both set: leave one of them out")
    if url:
        if name and name != url.partition("://")[0].partition("+")[0].lower():
            _refuse("ONWARD_URL names another engine than ONWARD_BACKEND: leave one of them out")
        return _by_url(url)
    if file:
        return _by_file(Path(file), name)
    engines = _by_first_name()
    name = name or _engine_of_sdk_variables()
    try:
        _check_name(name, engines)
    except ValueError as problem:
        _refuse(f"ONWARD_BACKEND: {problem}")
    engine = _loaded(_ENVIRONMENT, engines[name])
    declared = kinds(engine.settings)
    settings: dict[str, object] = {}
    for setting, variable in engine.variables.items():
        text = os.environ.get(variable)
        if text:
            try:
                settings[setting] = of_text(declared[setting], text)
            except ValueError:
                _refuse(should_be(variable, declared[setting], "{}={}"))
    return _made(_ENVIRONMENT, f"{name}: ", engines[name], settings)


def _engine_of_sdk_variables() -> str:
    """The engine whose own variables are set."""
    found = {
        variable: name for variable, name in _SDK_VARIABLES.items() if os.environ.get(variable)
    }
    if not found:
        _refuse(
            "nothing names a backend: pass a URL or a file, or set ONWARD_URL, for instance to "
            "celery+redis://localhost:6379/0"
        )
    if len(found) > 1:
        _refuse(f"{' and '.join(found)} are set: choose one, as with ONWARD_BACKEND=celery")
    return found.popitem()[1]


def _refuse(message: str) -> NoReturn:
    raise _Refused(_ENVIRONMENT, message) from None


def _check_name(name: str, known: Mapping[str, EntryPoint]) -> None:
    """Raises ValueError unless an engine has this name."""
    if not _NAME.fullmatch(name):  # it may be a URL with a password
        raise ValueError(
            "it takes the name of an engine, such as celery; a URL goes into ONWARD_URL"
        )
    if name not in known:
        raise ValueError(f"there is no backend {instead_of(name, known)}")


def _installed() -> dict[str, EntryPoint]:
    entries = entry_points(group=_GROUP)
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}


def _by_first_name() -> dict[str, EntryPoint]:
    """The installed engines by the first part of their names, which all their schemes share."""
    first: dict[str, EntryPoint] = {}
    for name, entry in _installed().items():
        first.setdefault(name.partition(".")[0], entry)
    return first


def _loaded(source: str, entry: EntryPoint) -> Engine[dict[str, object]]:
    provided = entry_points(group=_GROUP, name=entry.name)
    if len(provided) > 1:
        who = " and ".join(sorted(map(_package, provided)))
        raise _Refused(source, f"{who} each have a backend {entry.name!r}: uninstall one of them")
    try:
        engine = entry.load()
    except ModuleNotFoundError as missing:
        raise _Refused(source, _not_installed(missing, entry)) from None
    except Exception as problem:
        message = (
            f"{entry.value} cannot be loaded ({type(problem).__name__}): update {_package(entry)}, "
            f'or run python -c "import {entry.module}" to see the error'
        )
        raise _Refused(source, message) from None
    if not isinstance(engine, Engine):
        message = f"{entry.value} is not an onward.engines.Engine: update {_package(entry)}"
        raise _Refused(source, message)
    return engine


def _made(source: str, where: str, entry: EntryPoint, settings: dict[str, object]) -> Backend:
    """Makes a backend of settings and, where they lack secrets, of the secrets' variables."""
    engine = _loaded(source, entry)
    secrets = {
        setting: os.environ[variable]
        for setting, variable in engine.secrets.items()
        if variable in os.environ
    }
    try:
        backend = engine.connect(secrets | settings)
        keys = os.environ.get(_SECRET_KEYS)
        if not keys or hasattr(backend, "run_here"):  # nothing leaves the process
            return backend
        return sealing(backend, [key.strip().encode() for key in keys.split(",") if key.strip()])
    except ModuleNotFoundError as missing:
        raise _Refused(source, _not_installed(missing, entry)) from None
    except ValueError as problem:
        raise _Refused(source, f"{where}{problem}") from None


def _not_installed(missing: ModuleNotFoundError, entry: EntryPoint) -> str:
    """The message for a missing package, with the command that installs it."""
    assert entry.dist is not None
    package = str(missing.name).partition(".")[0]
    extra = entry.name.partition(".")[0]
    if extra in entry.dist.metadata.get_all("Provides-Extra", []):
        return f'{package} is not installed: pip install "{_package(entry)}[{extra}]"'
    return f"{package} is not installed: pip install {_package(entry)}"


def _package(entry: EntryPoint) -> str:
    """What brings it."""
    assert entry.dist is not None  # it was found in one
    return entry.dist.name
