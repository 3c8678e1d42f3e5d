"""`calls`, `cancel_all`, `resume_all` and `forget`, for blocking callers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias, TypeVar, overload

from returns.result import Result

from onward.backend import Cancels, Forgets, Histories, Lists, Submits
from onward.coroutines import drive
from onward.fault import Fault
from onward.flows.flow import Flow, Ref
from onward.interpret import core
from onward.interpret.callers import BLOCKS

if TYPE_CHECKING:
    from onward.backend import Listed
    from onward.interpret.bulk import Each
    from onward.interpret.listed import ListedCall, Listing, Moment

Value = TypeVar("Value")
Error = TypeVar("Error")

Calls: TypeAlias = "Iterable[Each[Value, Error]]"
"""What `calls` gives, or a part of it."""


@overload
def calls(
    on: Lists,
    *,
    state: Listed | Collection[Listed] | None = None,
    flow: Flow[..., Value, Error],
    tags: Collection[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
) -> Iterator[Result[ListedCall[Value, Error], Fault]]: ...
@overload
def calls(
    on: Lists,
    *,
    state: Listed | Collection[Listed] | None = None,
    flow: str | None = None,
    tags: Collection[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
) -> Iterator[Result[ListedCall[object, object], Fault]]: ...
def calls(
    on: Lists,
    *,
    state: Listed | Collection[Listed] | None = None,
    flow: Flow[..., Value, Error] | str | None = None,
    tags: Collection[str] = (),
    since: Moment | None = None,
    until: Moment | None = None,
    limit: int | None = None,
) -> Iterator[Result[ListedCall[Value, Error], Fault]]:
    """Lists submitted calls, the newest first.

    It asks the engine for pages as they are needed. What is listed is what the engine still keeps.

    Args:
        on: The backend that the calls were submitted to. `isinstance(backend, Lists)` tells you and
            your type checker whether a backend from `connect` can list calls.
        state: A state of `Status`, or a list of states. `"lost"` stands for the failed calls whose
            fault is `Lost`, such as those whose workers died too often. None lists all.
        flow: The calls' flow, which types their refs, or its name. None lists those of all flows.
        tags: Tags that each of the calls was submitted with.
        since: The earliest time of submission: seconds ago, a timedelta ago, or a moment.
        until: The time of submission before which the calls are, in the same form.
        limit: The largest number of calls; None for all of them.

    Returns:
        The calls, each as a success. If the engine cannot list them, or not these, or is not
        reached, the last item is the `Fault`.

    Example:
        >>> from onward import calls, local, result, resume, submit, task
        >>> @task
        ... def inverse(n: int) -> float:
        ...     return 1 / n
        >>> backend = local()
        >>> ref = submit(inverse(0), on=backend, tags=["customer 7"]).unwrap()
        >>> fault = result(ref, on=backend)
        >>> for each in calls(on=backend, state="failed", flow=inverse, since=3600):
        ...     call = each.unwrap()
        ...     print(call.flow, call.state, call.fault, call.tags)
        ...     again = resume(call.ref, on=backend)
        inverse failed Raised ('customer 7',)
    """
    from onward.interpret.listed import Listing  # only programs that list calls pay for it

    return _pages(Listing(on, state, flow, tags, since, until, limit))


def _pages(
    listing: Listing[Value, Error],
) -> Iterator[Result[ListedCall[Value, Error], Fault]]:
    while not listing.is_over:
        yield from listing.take(drive(listing.page(BLOCKS)))


def cancel_all(
    found: Calls[Value, Error],
    /,
    on: Cancels,
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Result[list[tuple[Ref[Value, Error], Result[None, Fault]]], Fault]:
    """Cancels the calls that `calls` gives, one after the other. See `cancel`.

    It first reads the whole list. If that fails, it cancels nothing.

    Args:
        found: What `calls` gave, or some of it.
        on: The backend that the calls were submitted to.
        dry_run: Whether to say only which calls it would cancel.
        progress: A function that is called after each call with the number of calls that are dealt
            with and the number of all calls.

    Returns:
        Each ref with what `cancel` answered; or the `Fault` that kept the list from being read. If
        the engine is away, the rest is not tried and has the same fault.

    Example:
        >>> from onward import calls, cancel_all, local, submit, task
        >>> @task
        ... def report(kind: str) -> None: ...
        >>> backend = local()
        >>> ref = submit(report("sales"), on=backend, delay=3600, tags=["nightly"]).unwrap()
        >>> for ref, answer in cancel_all(calls(on=backend, tags=["nightly"]), on=backend).unwrap():
        ...     print(answer)
        <Success: None>
    """
    from onward.interpret import bulk

    return drive(bulk.cancel_all(BLOCKS, found, on, progress, dry_run=dry_run))


def resume_all(
    found: Calls[Value, Error],
    /,
    on: Histories,
    *,
    to: Submits | None = None,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Result[list[tuple[Ref[Value, Error], Result[Ref[Value, Error], Fault]]], Fault]:
    """Resumes the calls that `calls` gives, one after the other. See `resume`.

    It first reads the whole list. If that fails, it resumes nothing. A call that was resumed before
    goes on once, so that you can repeat this after an interruption.

    Args:
        found: What `calls` gave, or some of it.
        on: The backend that the calls were submitted to.
        to: The backend on which they go on; None for the same one.
        dry_run: Whether to say only what would be resumed: each answer is then the ref that the new
            call would have, or the fault that would keep it from being resumed.
        progress: A function that is called after each call with the number of calls that are dealt
            with and the number of all calls.

    Returns:
        Each ref with what `resume` answered; or the `Fault` that kept the list from being read. If
        the engine is away, the rest is not tried and has the same fault.

    Example:
        >>> from onward import calls, local, result, resume_all, submit, task
        >>> broken = ["the network"]
        >>> @task
        ... def fetch(path: str) -> str:
        ...     if broken:
        ...         raise ConnectionError(broken[0])
        ...     return path
        >>> backend = local()
        >>> fault = result(submit(fetch("a.csv"), on=backend).unwrap(), on=backend)
        >>> broken.clear()
        >>> found = calls(on=backend, state="failed", flow=fetch)
        >>> for ref, resumed in resume_all(found, on=backend).unwrap():
        ...     print(result(resumed.unwrap(), on=backend))
        <Success: a.csv>
    """
    from onward.interpret import bulk

    return drive(bulk.resume_all(BLOCKS, found, on, to, progress, dry_run=dry_run))


def forget(ref: Ref[Value, Error], /, on: Forgets) -> Result[None, Fault]:
    """Deletes what the engine keeps of a call that has ended: arguments, values and outcome.

    Otherwise the engine deletes it once its retention is over. Logs, and copies that a call made
    for its own ends, are not deleted; nor is a call that continues this one, which has a copy of
    the outcomes that it took over.

    Args:
        ref: What `submit` gave, or `flow.ref(text)` in another process.
        on: The backend that the call was submitted to. `isinstance(backend, Forgets)` tells you and
            your type checker whether a backend from `connect` can delete calls.

    Returns:
        None after it is deleted; `Conflict` if the call has not ended; `Unknown` if the backend
        does not know the id.

    Example:
        >>> from onward import forget, local, result, status, submit, task
        >>> @task
        ... def greet(name: str) -> str:
        ...     return f"hello {name}"
        >>> backend = local()
        >>> ref = submit(greet("Ada"), on=backend).unwrap()
        >>> result(ref, on=backend)
        <Success: hello Ada>
        >>> forget(ref, on=backend)
        <Success: None>
        >>> type(status(ref, on=backend).failure()).__name__
        'Unknown'
    """
    return drive(core.forget(BLOCKS, ref, on))
