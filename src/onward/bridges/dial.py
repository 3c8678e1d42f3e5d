"""The dial of `routed`: which share of the calls goes to the new engine."""

from __future__ import annotations

import fnmatch
import hashlib
import logging
import os
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeAlias, overload

from returns.result import Failure, Result, Success

from onward.codec import Refused
from onward.fault import Fault, Misconfigured
from onward.flows.flow import AnyFlow, Flow, Task
from onward.flows.values import head
from onward.plan import Plan

P = ParamSpec("P")

ROUTE = "ONWARD_ROUTE"
"""The variable that overrides every dial: `old`, `new`, or a percentage."""

_LOGGER = logging.getLogger("onward.bridges")

_BYTES = 8


@dataclass(frozen=True)
class Share:
    """A rule of a dial: the share of some calls that goes to the new engine. See `share`.

    Args:
        percent: The percentage, from 0 to 100.
        flow: The name of the calls' flow, or a pattern such as `report.*`.
        tags: Tags that the calls have, all of them.
        takes: Whether the rule applies to a plan.
    """

    percent: float
    flow: str = "*"
    tags: frozenset[str] = frozenset()
    takes: Callable[[Plan], bool] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "percent", percentage(self.percent))


By: TypeAlias = float | Share | Sequence[Share | float] | Callable[[Plan], float | bool] | Path
"""What `routed` takes as `by`."""

Decide: TypeAlias = Callable[[Plan], float]
"""Gives the percentage for a plan; may raise whatever a function of the caller's raises."""


@overload
def share(
    percent: float,
    flow: Flow[P, Any, Any],
    *,
    where: Callable[P, bool] | None = None,
    tags: Collection[str] = (),
) -> Share: ...
@overload
def share(percent: float, flow: str | None = None, *, tags: Collection[str] = ()) -> Share: ...
def share(
    percent: float,
    flow: object = None,
    *,
    where: Callable[..., bool] | None = None,
    tags: Collection[str] = (),
) -> Share:
    """Makes a rule of a dial.

    Args:
        percent: The percentage of these calls that goes to the new engine, from 0 to 100.
        flow: The calls' flow, its name, or a pattern such as `report.*`; None for all flows.
        where: A function that gets the arguments of a call of the flow, and says whether the rule
            applies.
        tags: Tags that the calls have, all of them.

    Returns:
        The rule, for `routed(old, new, by=[...])`, where the first that applies decides.

    Raises:
        TypeError, ValueError: If an argument is invalid.

    Example:
        >>> from onward import task
        >>> from onward.bridges import share
        >>> @task
        ... def charge(order: int, country: str) -> None: ...
        >>> share(25, charge, where=lambda order, country: country == "AT")
        Share(percent=25.0, flow='charge', tags=frozenset())
    """
    if isinstance(tags, str):
        raise TypeError(f"tags is a list of short texts, not {tags!r}: write tags=[{tags!r}]")
    name = flow.name if isinstance(flow, Flow) else flow
    if name is not None and not isinstance(name, str):
        raise TypeError(f"flow is a flow, its name or a pattern, not {flow!r}")
    takes = None
    if where is not None:
        if not isinstance(flow, Flow):
            raise TypeError("where= gets the arguments of a flow: give the flow, not its name")
        takes = _takes(flow, where)
    return Share(percent, "*" if name is None else name, frozenset(tags), takes)


def _takes(flow: AnyFlow, where: Callable[..., bool]) -> Callable[[Plan], bool]:
    first = head(flow)
    while head(first) is not first:
        first = head(first)
    if not isinstance(first, Task):
        raise TypeError(f"{flow.name} takes its arguments in no task, so where= cannot read them")
    task = first

    def takes(plan: Plan) -> bool:
        args, named = task.signature.decode(plan.args, skip=0)
        return bool(where(*args, **named))

    return takes


def percentage(value: object) -> float:
    """A percentage as a float; raises TypeError or ValueError for an invalid one."""
    if isinstance(value, bool):
        return 100.0 if value else 0.0
    if not isinstance(value, int | float):
        raise TypeError(f"a share is a percentage, such as 25, not {value!r}")
    if not 0 <= value <= 100:
        raise ValueError(f"a share is a percentage from 0 to 100, not {value!r}")
    return float(value)


def decider(by: By) -> Decide:
    """Makes the function that reads a dial.

    Raises:
        TypeError, ValueError: If the dial is invalid, or its file is.
    """
    if isinstance(by, Path):
        return Dial(by)
    if isinstance(by, bool):
        raise TypeError(f"by is a percentage, rules, a function or a Path, not {by!r}")
    if isinstance(by, int | float | Share):
        return _by_rules([by])
    if isinstance(by, Sequence) and not isinstance(by, str | bytes):
        return _by_rules(by)
    if callable(by):
        chosen = by
        return lambda plan: percentage(chosen(plan))
    raise TypeError(f"by is a percentage, rules, a function or a Path, not {by!r}")


def _by_rules(given: Sequence[Share | float]) -> Decide:
    rules = [each if isinstance(each, Share) else Share(each) for each in given]

    def decide(plan: Plan) -> float:
        for rule in rules:
            if not fnmatch.fnmatchcase(plan.flow, rule.flow) or not rule.tags.issubset(plan.tags):
                continue
            if rule.takes is None or rule.takes(plan):
                return rule.percent
        return 0.0

    return decide


class Dial:
    """A dial in a file, which is read again whenever the file has changed.

    A file that cannot be read, or is invalid, changes nothing: the last valid one counts, and a
    warning says so.

    Args:
        path: The file.

    Raises:
        ValueError: If the file cannot be read now, or is invalid.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _stamp(path)
        try:
            self._decide = _by_rules(rules_in(path.read_text()))
        except (OSError, ValueError) as problem:
            raise ValueError(f"the dial {path}: {_why(problem)}") from None

    def __call__(self, plan: Plan) -> float:
        stamp = _stamp(self._path)
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._decide = _by_rules(rules_in(self._path.read_text()))
            except (OSError, ValueError) as problem:
                _LOGGER.warning("the dial %s is kept as it was: %s", self._path, _why(problem))
        return self._decide(plan)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _why(problem: OSError | ValueError) -> str:
    if isinstance(problem, OSError):
        return f"it cannot be read ({problem.strerror})"
    return str(problem)


def rules_in(text: str) -> list[Share]:
    r"""The rules in the text of a dial's file.

    Args:
        text: A percentage alone; or TOML with `share`, and tables `flows` and `tags` of
            percentages. The tags count before the flows, and these before `share`.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> rules_in("25")
        [Share(percent=25.0, flow='*', tags=frozenset())]
        >>> [rule.percent for rule in rules_in('share = 10\n[flows]\n"report.*" = 100')]
        [100.0, 10.0]
    """
    try:
        return [Share(float(text))]
    except ValueError:
        pass
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        raise ValueError(f"it is neither a percentage nor TOML ({problem})") from None
    unknown = set(found) - {"share", "flows", "tags"}
    if unknown:
        raise ValueError(f"it has {min(unknown)!r}, and knows share, [flows] and [tags]")
    flows, tags = found.get("flows", {}), found.get("tags", {})
    if not isinstance(flows, Mapping) or not isinstance(tags, Mapping):
        raise ValueError("flows and tags are tables: write [flows], and below it ingest = 25")
    try:
        return [
            *(Share(percent, tags=frozenset([tag])) for tag, percent in tags.items()),
            *(Share(percent, name) for name, percent in flows.items()),
            Share(found.get("share", 0)),
        ]
    except TypeError as problem:
        raise ValueError(str(problem)) from None


# -- decisions --------------------------------------------------------------------------------


Forced: TypeAlias = Literal["old", "new"] | float | None
"""What the environment says: an engine, a percentage, or nothing."""


def forced() -> Result[Forced, Fault]:
    """Reads the variable that overrides every dial."""
    text = os.environ.get(ROUTE, "").strip()
    if not text:
        return Success(None)
    if text == "old":
        return Success("old")
    if text == "new":
        return Success("new")
    try:
        return Success(percentage(float(text)))
    except ValueError:
        return Failure(Misconfigured(ROUTE, f"it is old, new or a percentage, not {text!r}"))


def includes(percent: float, id: str) -> bool:
    """Whether a share of all calls includes the one of this id.

    The same id always gives the same answer for the same share, and a larger share includes all
    that a smaller one does.

    Example:
        >>> includes(0, "7c1f"), includes(100, "7c1f")
        (False, True)
    """
    digest = hashlib.sha256(id.encode()).digest()[:_BYTES]
    return int.from_bytes(digest) < percent / 100 * float(256**_BYTES)


def share_of(decide: Decide, plan: Plan) -> Result[float, Fault]:
    """The percentage of calls such as this plan's that go to the new engine.

    Args:
        decide: The dial.
        plan: The plan.
    """
    override = forced()
    if isinstance(override, Failure):
        return Failure(override.failure())
    match override.unwrap():
        case "old":
            return Success(0.0)
        case "new":
            return Success(100.0)
        case None:
            pass
        case percent:
            return Success(percent)
    try:
        return Success(decide(plan))
    except Refused as refused:
        message = f"its arguments are not those that a rule reads: {refused.reason}"
        return Failure(Misconfigured(plan.flow, message))
    except Exception as problem:  # of the caller's function; its text may hold a secret
        message = f"the rule that routes it raised {type(problem).__name__}"
        return Failure(Misconfigured(plan.flow, message))
