"""Makes a task of a task that exists on an engine without Onward."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, get_type_hints

from returns.result import Failure

from onward.backend.outside import Outside, RunsTasks
from onward.config import connect
from onward.context import current, slot_lent
from onward.flows.define import task
from onward.flows.flow import Task
from onward.flows.using import uses
from onward.plan import Args
from onward.policy import PolicyOptions
from onward.resource import Resource
from onward.signature import Signature

if TYPE_CHECKING:
    from onward.backends.celery.adopted import Celery

Made = TypeVar("Made")

How: TypeAlias = Literal["as given", "by position", "by name"]
"""How an engine takes the arguments of a task."""

Open: TypeAlias = Callable[[], AbstractAsyncContextManager[RunsTasks]]
"""Opens a connection to an engine."""

_SPACE = uuid.UUID("0f2f6b52-41c5-5a0c-8b8e-6a0a3a2f7c11")
"""The namespace of the ids of runs that belong to attempts at steps."""

_LEARNS, _LOOK = 1.0, 0.02
"""How long a step that is ended waits to learn whether it was cancelled, in seconds."""


@asynccontextmanager
async def on_celery(
    on: Celery | str, result_backend: str | None, queue: str | None, terminate: bool
) -> AsyncGenerator[RunsTasks]:
    """A connection that runs the tasks of a Celery app."""
    from onward.backends.celery.adopted import tasks

    async with tasks(on, result_backend, queue, terminate=terminate) as runs:
        yield runs


@asynccontextmanager
async def on_temporal(
    on: str, task_queue: str, longest: float | None = None
) -> AsyncGenerator[RunsTasks]:
    """A connection that runs workflows of Temporal; with a longest time, activities."""
    from onward.backends.temporal.adopted import activities, workflows
    from onward.backends.temporal.backend import TemporalBackend

    backend = _connected(on, TemporalBackend)
    opened = (
        workflows(backend, task_queue)
        if longest is None
        else activities(backend, task_queue, longest)
    )
    async with opened as runs:
        yield runs


@asynccontextmanager
async def on_hatchet(on: str) -> AsyncGenerator[RunsTasks]:
    """A connection that runs workflows of Hatchet."""
    from onward.backends.hatchet.adopted import workflows
    from onward.backends.hatchet.backend import HatchetBackend

    async with workflows(_connected(on, HatchetBackend)) as runs:
        yield runs


def _connected(on: str, kind: type[Made]) -> Made:
    """The backend at a URL; raises ValueError unless it is of this kind."""
    connected = connect(on)
    if isinstance(connected, Failure):
        raise ValueError(str(connected.failure()))
    backend = connected.unwrap()
    if not isinstance(backend, kind):
        raise ValueError(f"on= is a {backend!r}: write the URL of the engine that has the task")
    return backend


def adopt(
    name: str,
    signature: Callable[..., Any] | None,
    opened: Open,
    how: How,
    options: PolicyOptions,
) -> Any:
    """Makes the task, or a decorator that makes it.

    Args:
        name: The task's name on the engine.
        signature: A function with its annotations; None for a decorator.
        opened: Opens the connection.
        how: How the engine takes its arguments.
        options: The fields of the step's `Policy`.
    """
    resource = Resource(opened)

    def decorate(signature: Callable[..., Any]) -> Task[..., Any, Any]:
        return _task(name, signature, resource, how, options)

    return decorate if signature is None else decorate(signature)


def _task(
    name: str,
    stub: Callable[..., Any],
    resource: Resource[RunsTasks],
    how: How,
    options: PolicyOptions,
) -> Task[..., Any, Any]:
    plain = task(stub, **options)  # checks the annotations
    codecs = plain.signature
    if codecs.errors is not None:
        raise TypeError(
            f"{name} is not Onward's, so it cannot return a Result: annotate the plain value, and "
            "rescue the fault Raised"
        )
    if how != "as given":
        _check_named(name, codecs)

    async def call(runs: RunsTasks, *args: Any, **kwargs: Any) -> Any:
        given = _sent(codecs, how, args, kwargs)
        here = current()
        place = f"{here.id}/{here.step}/{here.attempt}"
        id = uuid.uuid5(_SPACE, place) if here.id else uuid.uuid4()
        asked = Outside(name, str(id), given.positional, given.keyword)
        try:
            with slot_lent():
                raw = await runs.run(asked)
        except asyncio.CancelledError:
            if await _is_cancelled():
                await runs.cancel(asked)
            raise
        return codecs.returns.decode(raw)

    _shown_as(call, stub, codecs)
    return uses(resource, name=plain.name, **options)(call)


def _check_named(name: str, codecs: Signature) -> None:
    kinds = inspect.Parameter
    plain = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
    for each in codecs.python.parameters.values():
        if each.kind not in plain:
            raise TypeError(
                f"the engine takes the arguments of {name} by their names: write {each.name!r} as "
                "a plain parameter"
            )


def _sent(codecs: Signature, how: How, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Args:
    """The arguments as JSON, in the way that the engine takes them."""
    bound = codecs.python.bind(*args, **kwargs)
    if how == "by name":
        return codecs.encode((), bound.arguments)
    bound.apply_defaults()
    if how == "as given":
        return codecs.encode(bound.args, bound.kwargs)
    return codecs.encode(tuple(bound.arguments.values()), {})


async def _is_cancelled() -> bool:
    """Whether the step was cancelled or timed out. Otherwise its worker stops, and it goes on."""
    here, left = current(), _LEARNS
    while not here.cancelled and left > 0:
        await asyncio.sleep(_LOOK)
        left -= _LOOK
    return here.cancelled


def _shown_as(call: Callable[..., Coroutine[Any, Any, Any]], stub: Any, codecs: Signature) -> None:
    """Gives a function the name and the parameters of another one, after its resource."""
    first = inspect.Parameter("runs", inspect.Parameter.POSITIONAL_ONLY)
    hints = get_type_hints(stub, include_extras=True)
    parameters = [
        each.replace(annotation=hints[each.name]) for each in codecs.python.parameters.values()
    ]
    call.__name__, call.__qualname__ = stub.__name__, stub.__qualname__
    call.__module__, call.__doc__ = stub.__module__, stub.__doc__
    call.__annotations__ = hints
    shown: Any = call
    shown.__signature__ = inspect.Signature([first, *parameters], return_annotation=hints["return"])
