"""Signatures of tasks: the codecs of a function's parameters, value and errors."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Never, NoReturn, TypeAlias, get_args, get_origin, get_type_hints

from msgspec import Raw, Struct
from returns.result import Failure, Result, Success

from onward.codec import Annotation, Codec, Find, Refused, Tagged, codec, error_codec
from onward.fault import Fault
from onward.outcome import Failed, Faulted, Outcome, Value
from onward.plan import Args

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_HOLE = object()
_EMPTY = inspect.Parameter.empty


class Returned(Refused):
    """What a function returned is not what its annotation says."""


class Signature(Struct, frozen=True):
    """The parameters, the value and the errors of a function, with a codec for each.

    Args:
        python: The function's own signature.
        positional: The codecs of the parameters that can be given by position.
        rest: The codec of each item of `*args`.
        keyword: The codecs of the parameters that can be given by name.
        others: The codec of each value of `**kwargs`.
        returns: The codec of its value.
        errors: The codec of its domain errors; None if it does not return a Result.
        is_async: Whether a call may return an awaitable.
        misfit: Why it cannot be called with one value alone; None if it can.
        never_returns: Whether it always raises or fails.
    """

    python: inspect.Signature
    positional: tuple[tuple[str, Codec], ...]
    rest: Codec | None
    keyword: Mapping[str, Codec]
    others: Codec | None
    returns: Codec
    errors: Tagged | None
    is_async: bool
    misfit: str | None
    never_returns: bool

    @property
    def first(self) -> Codec:
        """The codec of its first argument."""
        return self.positional[0][1] if self.positional else self.at(0)  # each `>>` asks

    @property
    def required(self) -> int:
        """How many arguments by position it needs at least."""
        known = [self.python.parameters[name] for name, _ in self.positional]
        return sum(each.default is each.empty for each in known)

    def at(self, index: int) -> Codec:
        """The codec of the argument at a position; raises Refused where there is none."""
        return self._by_position(index)[1]

    def misfit_of(self, count: int) -> str | None:
        """Why it cannot be called with so many values by position; None if it can."""
        return _misfit(self.python, count)

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any], *, skip: int = 0) -> Args:
        """Encodes arguments.

        Args:
            args: The arguments by position, without the first `skip`.
            kwargs: The arguments by name.
            skip: How many of the first arguments come later, from the step before.

        Raises:
            TypeError: If the function does not take these arguments.
            Refused: If a value does not fit its annotation.
        """
        known = self.positional
        if kwargs or len(args) + skip != len(known):
            self.python.bind(*[_HOLE] * skip, *args, **kwargs)  # raises if they do not fit
        raws: list[Raw] = []
        for at, value in enumerate(args, skip):
            name, each = known[at] if at < len(known) else self._by_position(at)
            try:
                raws.append(Raw(each.encode(value)))
            except Refused as refused:
                raise refused.at(f".{name}") from None
        if not kwargs:
            return Args(tuple(raws))
        return Args(
            tuple(raws),
            {
                name: Raw(_encode(name, self._by_name(name), value))
                for name, value in kwargs.items()
            },
        )

    def encode_first(self, value: Any) -> Raw:
        """Encodes the first argument alone; raises Refused with a path within it."""
        return Raw(self.first.encode(value))

    def encode_items(self, value: Any) -> bytes:
        """The items of a tuple as arguments by position, as an array; raises Refused."""
        if not isinstance(value, tuple | list):
            raise Refused(f"Expected `tuple`, got `{type(value).__qualname__}`")
        wrong = self.misfit_of(len(value))
        if wrong is not None:
            raise Refused(f"it has {len(value)} items: {wrong}")
        raws: list[bytes] = []
        for at, item in enumerate(value):
            try:
                raws.append(self.at(at).encode(item))
            except Refused as refused:
                raise refused.at(f"[{at}]") from None
        return b"[" + b",".join(raws) + b"]"

    def decode(
        self, arguments: Args, *, find: Find | None = None, skip: int = 0
    ) -> tuple[list[Any], dict[str, Any]]:
        """Decodes arguments.

        Args:
            arguments: The encoded arguments.
            find: Looks up the error codec of another task.
            skip: How many of the first arguments are missing from them.

        Raises:
            Refused: If there are too many or too few, or one does not fit its annotation.
        """
        known, raws = self.positional, arguments.positional
        count, named = len(raws) + skip, len(known)
        if count == named == 1 and raws and not arguments.keyword:  # the most common case
            name, each = known[0]
            try:
                return [each.decode(raws[0], find)], {}
            except Refused as refused:
                raise refused.at(f".{name}") from None
        if count < named:
            self._check_given(count, arguments.keyword)
        args: list[Any] = []
        for at, raw in enumerate(raws, skip):
            name, each = known[at] if at < named else self._by_position(at)
            try:
                args.append(each.decode(raw, find))
            except Refused as refused:
                raise refused.at(f".{name}") from None
        if not arguments.keyword:
            return args, {}
        return args, {
            name: _decode(name, self._by_name(name), raw, find)
            for name, raw in arguments.keyword.items()
        }

    def select(
        self, selector: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """What a selector gives for decoded arguments; it gets the defaults of the others too."""
        bound = self.python.bind(*args, **kwargs)
        bound.apply_defaults()
        return selector(*bound.args, **bound.kwargs)

    def opened(self, arguments: Args) -> Args:
        """The arguments with their secrets decrypted, if the worker has keys."""
        return arguments

    def sealed(self, outcome: Outcome) -> Outcome:
        """An outcome with its secrets encrypted, if the worker has keys; raises Refused."""
        return outcome

    def give(self, value: Any, task: str) -> Outcome:
        """Makes an outcome of what the function returned.

        Raises:
            Returned: If it does not fit the annotation.
        """
        what = "a value"
        try:
            if self.errors is None:
                return Value(Raw(self.returns.encode(value)))
            if isinstance(value, Success):
                return Value(Raw(self.returns.encode(value.unwrap())))
            if isinstance(value, Failure):
                what, error = "an error", value.failure()
                raw = Raw(self.errors.encode(error, task))
                return Faulted(raw) if isinstance(error, Fault) else Failed(raw)
        except Refused as refused:
            reason = f"it returned {what} that cannot travel: {refused.reason}"
            raise Returned(reason, refused.path) from None
        raise Returned(f"its annotation says Result, and it returned {type(value).__qualname__}")

    def _check_given(self, count: int, keyword: Mapping[str, Raw]) -> None:
        """Raises if one of the arguments beyond so many positions has no default."""
        for name, _ in self.positional[count:]:
            if name not in keyword and self.python.parameters[name].default is _EMPTY:
                raise Refused(f"it has no value for the parameter {name!r}", f"$.{name}")

    def _by_position(self, index: int) -> tuple[str, Codec]:
        if index < len(self.positional):
            return self.positional[index]
        if self.rest is None:
            raise Refused(f"it takes {len(self.positional)} arguments by position, and got more")
        return "*", self.rest

    def _by_name(self, name: str) -> Codec:
        found = self.keyword.get(name, self.others)
        if found is None:
            raise Refused("it has no such parameter", f"$.{name}")
        return found


def signature_of(fn: Callable[..., Any], task: str, skip: int = 0) -> Signature:
    """The signature of a task's function.

    Args:
        fn: A plain function, sync or async.
        task: The task's name, for messages.
        skip: How many of its first parameters the worker gives, and not the caller.

    Raises:
        TypeError: If it is not a plain function, or an annotation is missing or has no codec; the
            message names the parameter.
    """
    _check_kind(fn, task)
    python, hints = _called_without(skip, fn, task) if skip else _called(fn, _hints(fn, task))
    positional: list[tuple[str, Codec]] = []
    keyword: dict[str, Codec] = {}
    rest = others = None
    for name, parameter in python.parameters.items():
        if name not in hints:
            raise TypeError(_missing(fn, task, name))
        each = _codec(hints[name], f"parameter {name!r}", fn, task)
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = each
        elif parameter.kind is parameter.VAR_KEYWORD:
            others = each
        else:
            if parameter.kind is not parameter.KEYWORD_ONLY:
                positional.append((name, each))
            if parameter.kind is not parameter.POSITIONAL_ONLY:
                keyword[name] = each
    if "return" not in hints:
        raise TypeError(
            f"task {task!r} ({place(fn)}) does not say what it returns: write -> None, or its type"
        )
    returned = hints["return"]
    is_async = _may_await(fn)
    if get_origin(returned) is Coroutine:
        is_async, returned = True, get_args(returned)[-1]
    value, errors = returned, None
    if returned is Result:
        raise TypeError(
            f"the Result of task {task!r} ({place(fn)}) has no types: write Result[R, E]"
        )
    if get_origin(returned) is Result:
        value, error = get_args(returned)
        try:
            errors = error_codec(error)
        except TypeError as problem:
            raise TypeError(_cannot("the error", error, fn, task, problem)) from None
    never_returns = value is Never or value is NoReturn
    if never_returns:
        value = None
    return Signature(
        python=python,
        positional=tuple(positional),
        rest=rest,
        keyword=keyword,
        others=others,
        returns=_codec(value, "the value", fn, task),
        errors=errors,
        is_async=is_async,
        misfit=_misfit(python, 1),
        never_returns=never_returns,
    )


_Called: TypeAlias = tuple[inspect.Signature, dict[str, Annotation]]
"""A function's signature, and the annotations of its parameters and its value."""


def _called(fn: Callable[..., Any], hints: dict[str, Annotation]) -> _Called:
    """A function's own signature, or that of the wrapped function if it passes arguments on."""
    own = inspect.signature(fn, follow_wrapped=False)
    inner = getattr(fn, "__wrapped__", None)
    passes_on = any(each.kind in _VARIADIC for each in own.parameters.values())
    if inner is None or (not passes_on and own.parameters.keys() <= hints.keys()):
        return own, hints
    return _called(inner, hints)


def _called_without(skip: int, fn: Callable[..., Any], task: str) -> _Called:
    """A function's signature without its first parameters, whose annotations may be of any kind."""
    known = _own_annotations(fn)
    own, _ = _called(fn, known)
    parameters = list(own.parameters.values())
    given = parameters[:skip]
    if len(given) < skip or any(each.kind not in _BY_POSITION for each in given):
        raise TypeError(
            f"task {task!r} ({place(fn)}) has no parameter for a resource that it uses: its first "
            "parameters take its resources by position, and its own arguments come after them"
        )
    for each in given:
        known.pop(each.name, None)
    return own.replace(parameters=parameters[skip:]), _hints(fn, task, known)


def _own_annotations(fn: Callable[..., Any]) -> dict[str, Any]:
    """A function's annotations as they stand; a name that cannot be looked up stays a reference."""
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(fn, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(fn)


def _may_await(fn: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(inspect.unwrap(fn))


async def call_async(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Calls a function, and awaits what it returns if that is awaitable.

    Args:
        fn: The function. A sync wrapper of an async function is called on a thread, because it may
            run the async function on its own event loop.
        args: Its arguments by position.
        kwargs: Its arguments by name.
    """
    is_wrapper = hasattr(fn, "__wrapped__") and not inspect.iscoroutinefunction(fn)
    if is_wrapper:
        import asyncio  # programs that only define and submit tasks do not need it

        value = await asyncio.to_thread(fn, *args, **kwargs)
    else:
        value = fn(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


def _misfit(python: inspect.Signature, count: int) -> str | None:
    try:
        python.bind(*[_HOLE] * count)
    except TypeError as problem:
        return str(problem)
    return None


def place(fn: Callable[..., Any]) -> str:
    """The file and line of a function, for messages."""
    inner = inspect.unwrap(fn)
    code = inner.__code__ if inspect.isfunction(inner) else fn.__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


def _check_kind(fn: Callable[..., Any], task: str) -> None:
    if inspect.ismethod(fn):
        raise TypeError(
            f"{task!r} is a method, and self cannot travel to a worker: make it a function that "
            "takes what it needs"
        )
    if not inspect.isfunction(fn):
        raise TypeError(f"a task is a plain function, not {fn!r}: write def, and put @task on it")
    if fn.__name__ == "<lambda>":
        raise TypeError(
            f"a lambda ({place(fn)}) has no name and no annotations: write def, and put @task on it"
        )
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(
            f"task {task!r} ({place(fn)}) is a generator, and its value must travel as a whole: "
            "return a list"
        )


def _hints(
    fn: Callable[..., Any], task: str, known: Mapping[str, Any] | None = None
) -> dict[str, Annotation]:
    """The annotations of a function, looked up: all of them, or those that are given."""
    try:
        if known is None:
            return get_type_hints(fn, include_extras=True)
        names: dict[str, Any] = getattr(inspect.unwrap(fn), "__globals__", {})
        annotated = types.SimpleNamespace(__annotations__=known)
        return get_type_hints(annotated, globalns=names, include_extras=True)
    except NameError as problem:
        raise TypeError(
            f"an annotation of task {task!r} ({place(fn)}) cannot be looked up: {problem}. "
            "Define or import it at the top of the module, outside `if TYPE_CHECKING`"
        ) from None
    except Exception as problem:
        raise TypeError(
            f"an annotation of task {task!r} ({place(fn)}) is not a type: {problem}"
        ) from None


def _codec(annotation: Annotation, what: str, fn: Callable[..., Any], task: str) -> Codec:
    try:
        return codec(annotation)
    except TypeError as problem:
        raise TypeError(_cannot(what, annotation, fn, task, problem)) from None


def _cannot(
    what: str, annotation: Annotation, fn: Callable[..., Any], task: str, problem: TypeError
) -> str:
    shown = annotation.__qualname__ if isinstance(annotation, type) else str(annotation)
    return f"{what} of task {task!r} ({place(fn)}), annotated {shown}, cannot travel: {problem}"


def _missing(fn: Callable[..., Any], task: str, name: str) -> str:
    if name in ("self", "cls") and next(iter(inspect.signature(fn).parameters)) == name:
        return (
            f"task {task!r} ({place(fn)}) is a method, and {name} cannot travel to a worker: make "
            "it a function that takes what it needs"
        )
    return (
        f"parameter {name!r} of task {task!r} ({place(fn)}) needs an annotation, because values "
        f"are encoded by it: write {name}: str, or another type"
    )


def _encode(name: str, each: Codec, value: Any) -> bytes:
    try:
        return each.encode(value)
    except Refused as refused:
        raise refused.at(f".{name}") from None


def _decode(name: str, each: Codec, raw: Raw, find: Find | None) -> Any:
    try:
        return each.decode(raw, find)
    except Refused as refused:
        raise refused.at(f".{name}") from None
