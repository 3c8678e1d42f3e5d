"""Reads a flow's arguments from a command line, by the flow's annotations."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import msgspec
from msgspec import Raw, Struct

from onward.checks import check_name
from onward.cli.console import USAGE, end
from onward.codec import Codec, Refused
from onward.codec.base import check_keys
from onward.fault import Fault
from onward.flows import nodes, values
from onward.flows.flow import AnyFlow, Call
from onward.flows.node import Node
from onward.flows.signals import Signal
from onward.interpret.signals import signal_named
from onward.url import instead_of

_AS_JSON = """'"text"', 5, true or '{"approved": true}'"""
_REST = inspect.Parameter.VAR_POSITIONAL
_OTHERS = inspect.Parameter.VAR_KEYWORD
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (*_BY_PLACE, inspect.Parameter.KEYWORD_ONLY)


class Parameter(Struct, frozen=True):
    """A parameter of a flow.

    Args:
        python: The parameter itself.
        type: Its type, for people.
        read: Reads a value from JSON; raises `Refused`.
        annotation: Its annotation.
    """

    python: inspect.Parameter
    type: str
    read: Callable[[bytes], object]
    annotation: object = None

    @property
    def is_flag(self) -> bool:
        """Whether its option takes no value: `--dry` or `--no-dry`."""
        return self.annotation is bool

    @property
    def option(self) -> str:
        """The name of its option."""
        return f"--{self.python.name.replace('_', '-')}"


def parameters(flow: Node) -> list[Parameter]:
    """The parameters of a flow, which are those of its first step."""
    if isinstance(flow, nodes.Task):
        return [_of_task(flow, each) for each in flow.signature.python.parameters.values()]
    if isinstance(flow, nodes.Identity | nodes.Fixed | nodes.Sleep | nodes.Awaits):
        alone = inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)
        return [Parameter(alone, "JSON", _plain(flow))]
    first = parameters(values.head(flow))
    if not values.is_single(flow):
        return first
    # The flow takes one value, of which its steps may take a part.
    inner = first[0]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    alone = inspect.Parameter(inner.python.name, kind)
    if isinstance(flow, nodes.Each):
        return [Parameter(alone, f"list[{inner.type}]", _plain(flow))]
    return [Parameter(alone, inner.type, _plain(flow), inner.annotation)]


def call_of(flow: AnyFlow, texts: Sequence[str]) -> Call[Any, Any]:
    """Applies the flow to the arguments on a command line; ends the command if they do not fit."""
    known = parameters(flow)
    given = _Given(flow, {each.python.name: each for each in known})
    given.take(list(texts))
    missing = [
        each
        for each in known
        if each.python.name not in given.values
        and each.python.default is inspect.Parameter.empty
        and each.python.kind in _NAMED
    ]
    if missing:
        named = ", ".join(f"{each.python.name!r} ({each.type})" for each in missing)
        given.refuse(f"{named} is missing" if len(missing) == 1 else f"{named} are missing")
    if values.is_single(flow):
        return flow(*given.values.values())
    signature = inspect.Signature([each.python for each in known])
    bound = inspect.BoundArguments(signature, _ordered(given.values, known))
    try:
        return flow(*bound.args, **bound.kwargs)
    except TypeError as problem:
        end(USAGE, str(problem))


class _Given:
    """The values that were given so far."""

    def __init__(self, flow: AnyFlow, known: Mapping[str, Parameter]) -> None:
        self._flow = flow
        self._known = known
        self._rest = next((it for it in known.values() if it.python.kind is _REST), None)
        self._others = next((it for it in known.values() if it.python.kind is _OTHERS), None)
        self._named = {name: each for name, each in known.items() if each.python.kind in _NAMED}
        self._more: list[object] = []
        self._more_named: dict[str, object] = {}
        self.values: dict[str, Any] = {}

    def take(self, texts: list[str]) -> None:
        """Takes arguments by name, and then those by position."""
        positional: list[str] = []
        while texts:
            text = texts.pop(0)
            if text == "--":
                positional += texts
                break
            if text.startswith("--"):
                self._option(text, texts)
            else:
                positional.append(text)
        for text in positional:
            self._position(text)

    def refuse(self, message: str) -> NoReturn:
        """Ends the command."""
        end(USAGE, f"{self._flow.name}: {message}. --help shows what it takes")

    def _option(self, text: str, texts: list[str]) -> None:
        option, equals, value = text.removeprefix("--").partition("=")
        name = option.replace("-", "_")
        found = self._named.get(name)
        if found is not None and found.is_flag and not equals:
            self._set(found, True)
            return
        negated = self._named.get(name.removeprefix("no_"))
        if found is None and negated is not None and negated.is_flag and not equals:
            self._set(negated, False)
            return
        if found is None and self._others is None:
            self.refuse(f"there is no parameter {instead_of(name, self._named)}")
        if not equals:
            if not texts:
                self.refuse(f"--{option} needs a value")
            value = texts.pop(0)
        if found is not None:
            self._set(found, self._read(found, value))
        elif self._others is not None:
            if name in self._more_named:
                self.refuse(f"--{option} appears twice")
            self._more_named[name] = self._read(self._others, value, name)
            self.values[self._others.python.name] = self._more_named

    def _position(self, text: str) -> None:
        for each in self._known.values():
            if each.python.kind in _BY_PLACE and each.python.name not in self.values:
                self._set(each, self._read(each, text))
                return
        if self._rest is None:
            self.refuse("there are more arguments than it takes")
        self._more.append(self._read(self._rest, text))
        self.values[self._rest.python.name] = self._more

    def _set(self, parameter: Parameter, value: object) -> None:
        if parameter.python.name in self.values:
            self.refuse(f"{parameter.option} appears twice")
        self.values[parameter.python.name] = value

    def _read(self, parameter: Parameter, text: str, name: str = "") -> object:
        try:
            return read(parameter, text)
        except Refused as refused:
            where = f" at {refused.path}" if refused.path != "$" else ""
            what = f"{name or parameter.python.name!r} ({parameter.type})"
            is_made = "`array`" in refused.reason or "`object`" in refused.reason
            hint = ", written as JSON" if is_made and not _is_json(text) else ""
            self.refuse(f"{what}: {refused.reason}{where}{hint}")


def read(parameter: Parameter, text: str) -> object:
    """Reads an argument: as a str if the annotation takes one, otherwise as JSON."""
    if parameter.annotation is bytes:
        return parameter.read(msgspec.json.encode(os.fsencode(text)))
    as_text: Refused | None = None
    if parameter.annotation not in (None, Any):
        try:
            return parameter.read(msgspec.json.encode(text))
        except UnicodeEncodeError:
            raise Refused("it is not UTF-8") from None
        except Refused as refused:
            as_text = refused
    try:
        return parameter.read(text.encode(errors="replace"))
    except Refused as refused:
        # An argument that is not JSON was meant as a str, so report why that does not fit.
        is_text = not _is_json(text) and not text.lstrip().startswith(("{", "["))
        raise (as_text if as_text and is_text else refused) from None


def raw_signal(name: str, text: str) -> Raw:
    """Reads the value of a signal of any type as JSON; ends the command if it is none."""
    try:
        check_name("signal", name)
        raw = msgspec.json.format(text.encode(), indent=-1)
        check_keys(raw)
    except ValueError as problem:
        end(USAGE, f"the signal {name!r}: {problem}. Its value is JSON, such as {_AS_JSON}")
    return Raw(raw)


def read_signal(flow: AnyFlow, name: str, text: str) -> tuple[Signal[Any], object]:
    """The signal of a name that a flow waits for, and its value, read by the signal's type.

    It ends the command if the flow waits for no such signal, or the value does not fit.
    """
    signal = signal_named(flow, name)
    if isinstance(signal, Fault):
        end(USAGE, signal.message)
    alone = inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)
    annotation: object = signal.type
    try:
        value = read(Parameter(alone, signal.type_name, signal.codec.decode, annotation), text)
    except Refused as refused:
        where = f" at {refused.path}" if refused.path != "$" else ""
        end(USAGE, f"the signal {name!r} ({signal.type_name}): {refused.reason}{where}")
    return signal, value


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except ValueError:
        return False
    return True


def _of_task(task: nodes.Task, python: inspect.Parameter) -> Parameter:
    signature = task.signature
    codec: Codec | None
    if python.kind is _REST:
        codec = signature.rest
    elif python.kind is _OTHERS:
        codec = signature.others
    else:
        codec = signature.keyword.get(python.name) or dict(signature.positional)[python.name]
    assert codec is not None  # each parameter of a task has a codec
    annotation = codec.annotation
    return Parameter(python, inspect.formatannotation(annotation), codec.decode, annotation)


def _plain(flow: Node) -> Callable[[bytes], object]:
    """The reader of a flow's only value."""
    reader = values.takes(flow)
    return lambda raw: reader.read(Raw(raw))


def _ordered(values: Mapping[str, Any], known: Sequence[Parameter]) -> dict[str, Any]:
    names = [each.python.name for each in known]
    return {name: values[name] for name in names if name in values}
