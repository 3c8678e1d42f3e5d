"""`connect`: from a URL, a YAML file or the environment to a backend.

A backend goes by the name of an entry point of the group `onward.backends`, which names an
`onward.engines.Engine`: that is how a third party's plugs in. In a URL's scheme a plus is the dot
of the entry point's name; a section of a file is the part before it.
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
from onward.config.document import Entry, Section, read
from onward.config.document import settings as settings_in
from onward.engines import Engine
from onward.fault import Misconfigured
from onward.sealing import sealing
from onward.settings import kinds, of_text, should_be
from onward.url import instead_of

_GROUP = "onward.backends"
_ENVIRONMENT = "the environment"
_SECRET_KEYS = "ONWARD_SECRET_KEYS"
"""The variable of the keys that secrets are encrypted with, with commas between them."""
_NAME = re.compile(r"[a-z][a-z0-9_-]*", re.IGNORECASE)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9]{24,}")
"""No word of ours, and no name that a person gives, has so many letters and digits in a row."""
_TELLING = {
    "CELERY_BROKER_URL": "celery",
    "HATCHET_CLIENT_TOKEN": "hatchet",
    "TEMPORAL_ADDRESS": "temporal",
}
"""The variables that tell which engine is meant where none of ours is set."""


class _Choice(TypedDict):
    backend: str


def connect(source: str | Path | None = None, /) -> Result[Backend, Misconfigured]:
    """The backend that a URL, a file or the environment names.

    `local://`, `sqlite:///onward.db`, `celery+redis://`, `celery+amqp://`, `celery+rediss://` and
    `celery+amqps://` (both over TLS), `celery+sentinel://`, `celery+redis+socket://`,
    `celery+memory://`, `hatchet://` and `temporal://` are there; installed packages may bring
    others. Nothing is asked of the engine yet.

    What only some backends can do, `isinstance(backend, Cancels)` and
    `isinstance(backend, Schedules)` tell, at run time and to type checkers.

    Args:
        source: A URL, as `celery+redis://localhost:6379/0?queue=mail`; what a parameter says is
            percent-encoded, but a URL may stand there as it is. Or the path of a YAML file. Or
            nothing: then `ONWARD_URL` has the one or `ONWARD_CONFIG` the other; or `ONWARD_BACKEND`
            or the SDKs' own variables tell the engine, and these say the rest.

    Returns:
        The backend; or what is wrong, which no secret is ever in. It never raises.

    Example:
        >>> from onward import connect
        >>> connect("local://?workers=4")
        <Success: local(workers=4)>
        >>> print(connect("local://?worker=4").failure().message)
        there is no parameter 'worker' (did you mean 'workers'?). Known: keep, workers
    """
    try:
        if source is None:
            return Success(_by_environment())
        if isinstance(source, Path) or (isinstance(source, str) and _is_file(source)):
            return Success(_by_file(Path(source)))
        return Success(_by_url(source))
    except _Refused as refused:
        return Failure(refused.fault)
    except Exception as problem:  # of an engine that others bring, perhaps; its text may be secret
        message = f"no backend could be made of it ({type(problem).__name__})"
        return Failure(Misconfigured("connect", message))


class _Refused(Exception):
    """What is wrong with which source."""

    def __init__(self, source: str, message: str) -> None:
        super().__init__()
        self.fault = Misconfigured(_discreet(source), _discreet(message))


def _discreet(text: str) -> str:
    """A text that can be printed, without what looks like a token in the wrong place."""
    return _TOKEN.sub("***", text).encode("utf-8", "backslashreplace").decode()


def _is_file(source: str) -> bool:
    if _SCHEME.match(source):
        return False
    try:
        return source.endswith((".yaml", ".yml")) or Path(source).is_file()
    except (OSError, ValueError):  # no name of a file, then
        return False


def _by_url(said: object) -> Backend:
    if not isinstance(said, str):
        raise _Refused("connect", f"it takes a URL or a path, not {type(said).__name__}")
    url = said.strip()
    found = _SCHEME.match(url)
    if found is None:
        message = (
            "it starts with a scheme: local://, celery+redis://localhost:6379/0; and the name of "
            "a file ends in .yaml"
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
    return _made(f"{scheme}://", "", known[scheme], settings)


def _refuse_secrets(url: str, engine: Engine[dict[str, object]]) -> None:
    """Raises ValueError where a secret stands in a URL, which is shown and logged everywhere."""
    said = {part.partition("=")[0] for part in url.partition("?")[2].split("&")}
    for setting, variable in engine.secrets.items():
        if setting in said:
            raise ValueError(f"{setting} has no place in a URL: set {variable}")


def _by_file(path: Path, expected: str | None = None) -> Backend:
    # What was never meant as a path may have a secret in it.
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
            said = _section(section, entry)
            if section == name:
                known = _loaded(file, engines[name]).settings
                settings = settings_in(said, known, os.environ)
            else:
                _look_over(said, engines[section])
    except ModuleNotFoundError:
        raise _Refused(file, 'PyYAML is not installed: pip install "onward[yaml]"') from None
    except ValueError as problem:
        raise _Refused(file, str(problem)) from None
    return _made(file, f"{name}: ", engines[name], settings)


def _chosen(document: Section, engines: Mapping[str, EntryPoint], expected: str | None) -> str:
    """The engine that a file names."""
    if "backend" not in document:
        raise ValueError("it does not say which backend: write backend: celery")
    entry = document["backend"]
    name = settings_in({"backend": entry}, _Choice, os.environ)["backend"]
    try:
        _check_name(name, engines)
    except ValueError as problem:
        raise ValueError(f"line {entry.line}: {problem}") from None
    if expected and name != expected:
        raise ValueError(
            f"line {entry.line}: backend is not what ONWARD_BACKEND says: leave one of them out"
        )
    return name


def _section(name: str, entry: Entry) -> Section:
    if entry.value is None:
        return {}
    if not isinstance(entry.value, dict):
        raise ValueError(f"line {entry.line}: {name} is followed by its settings, each on a line")
    return entry.value


def _look_over(section: Section, entry: EntryPoint) -> None:
    """Raises ValueError for a section that is not in use and would make no sense if it were."""
    try:
        engine = entry.load()
    except Exception:  # that is for who uses it
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
            _refuse("ONWARD_URL is not of what ONWARD_BACKEND says: leave one of them out")
        return _by_url(url)
    if file:
        return _by_file(Path(file), name)
    engines = _by_first_name()
    name = name or _told()
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


def _told() -> str:
    """The engine whose own variables are set."""
    told = {variable: name for variable, name in _TELLING.items() if os.environ.get(variable)}
    if not told:
        _refuse(
            "nothing says which backend: pass a URL or a file, or set ONWARD_URL, as to "
            "celery+redis://localhost:6379/0"
        )
    if len(told) > 1:
        _refuse(f"{' and '.join(told)} are set: say which is meant, as by ONWARD_BACKEND=celery")
    return told.popitem()[1]


def _refuse(message: str) -> NoReturn:
    raise _Refused(_ENVIRONMENT, message) from None


def _check_name(name: str, known: Mapping[str, EntryPoint]) -> None:
    """Raises ValueError for a name that no engine goes by."""
    if not _NAME.fullmatch(name):  # a URL with a password, perhaps
        raise ValueError("a backend has a name here, as celery; a URL goes into ONWARD_URL")
    if name not in known:
        raise ValueError(f"there is no backend {instead_of(name, known)}")


def _installed() -> dict[str, EntryPoint]:
    entries = entry_points(group=_GROUP)
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.name)}


def _by_first_name() -> dict[str, EntryPoint]:
    """What there is, by what stands before the first dot: its schemes have one engine."""
    first: dict[str, EntryPoint] = {}
    for name, entry in _installed().items():
        first.setdefault(name.partition(".")[0], entry)
    return first


def _loaded(source: str, entry: EntryPoint) -> Engine[dict[str, object]]:
    brought = entry_points(group=_GROUP, name=entry.name)
    if len(brought) > 1:
        who = " and ".join(sorted(map(_package, brought)))
        raise _Refused(source, f"{who} each bring a backend {entry.name!r}: uninstall one of them")
    try:
        engine = entry.load()
    except ModuleNotFoundError as missing:
        raise _Refused(source, _not_installed(missing, entry)) from None
    except Exception as problem:
        message = (
            f"{entry.value} cannot be loaded ({type(problem).__name__}): update {_package(entry)}, "
            f'or see what python -c "import {entry.module}" says'
        )
        raise _Refused(source, message) from None
    if not isinstance(engine, Engine):
        raise _Refused(source, f"{entry.value} is no onward.engines.Engine: update what brings it")
    return engine


def _made(source: str, where: str, entry: EntryPoint, settings: dict[str, object]) -> Backend:
    """The backend of settings, to which come the secrets that they are silent of."""
    engine = _loaded(source, entry)
    secrets = {
        setting: os.environ[variable]
        for setting, variable in engine.secrets.items()
        if variable in os.environ
    }
    try:
        backend = engine.connect(secrets | settings)
        keys = os.environ.get(_SECRET_KEYS)
        if not keys or hasattr(backend, "run_here"):  # in one process, nothing travels
            return backend
        return sealing(backend, [key.strip().encode() for key in keys.split(",") if key.strip()])
    except ModuleNotFoundError as missing:
        raise _Refused(source, _not_installed(missing, entry)) from None
    except ValueError as problem:
        raise _Refused(source, f"{where}{problem}") from None


def _not_installed(missing: ModuleNotFoundError, entry: EntryPoint) -> str:
    """What is missing, and the command that installs it."""
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
