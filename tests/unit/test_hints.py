"""Names from other libraries raise errors that say what to write instead."""

from typing import Any

import pytest

from onward import Misconfigured, Retry, connect, local, run, submit, task


@task
def fetch(url: str) -> str:
    return url


@task
def parse(text: str) -> int:
    return len(text)


ANY: Any = fetch
MAKE: Any = task


@pytest.mark.parametrize(
    ("method", "instead"),
    [
        ("delay", "submit(fetch(...), on=backend)"),
        ("apply_async", "submit(fetch(...), on=backend, delay=..., queue=...)"),
        ("s", "given(fetch, ...)"),
        ("aio_run", "await aio.run(fetch(...), on=backend)"),
        ("map", "each(fetch)"),
    ],
)
def test_a_method_of_another_librarys_task_says_what_there_is_instead(
    method: str, instead: str
) -> None:
    with pytest.raises(AttributeError) as raised:
        getattr(ANY, method)("https://example.org")
    assert f"Task has no {method!r}: write " in str(raised.value)
    assert instead in str(raised.value)
    with pytest.raises(AttributeError, match="Chain has no 'delay': write submit"):
        (ANY >> parse).delay("https://example.org")


def test_what_there_is_nowhere_is_missing_as_from_any_object() -> None:
    with pytest.raises(AttributeError, match=r"^Task has no 'colour'$"):
        ANY.colour  # noqa: B018
    assert not hasattr(ANY, "__iter__")
    assert getattr(ANY, "retries", 3) == 3


def test_a_pipe_says_how_flows_are_chained() -> None:
    with pytest.raises(TypeError, match="flows are chained with >>: write fetch >> parse"):
        ANY | parse
    with pytest.raises(TypeError, match=r"write fetch >> \.\.\."):
        ANY | 5


@pytest.mark.parametrize(
    ("options", "instead"),
    [
        ({"retries": 3}, "retry=Retry(attempts=...)"),
        ({"max_retries": 3, "autoretry_for": (OSError,)}, "on=(OSError, ...))"),
        ({"default_retry_delay": 30}, "backoff=Constant(30.0)"),
        ({"time_limit": 30}, "timeout=30.0, in seconds"),
        ({"bind": True}, "current() inside the task"),
        ({"colour": "red"}, "it has name, retry, timeout, queue, priority"),
    ],
    ids=str,
)
def test_an_option_that_there_is_not_says_which_there_is(
    options: dict[str, object], instead: str
) -> None:
    for beside in ((), (fetch.fn,)):
        with pytest.raises(TypeError) as raised:
            MAKE(*beside, **options)
        assert f"task has no option {', '.join(map(repr, options))}" in str(raised.value)
        assert instead in str(raised.value)


def test_options_may_stand_beside_the_function() -> None:
    made = task(fetch.fn, name="again", retry=Retry(attempts=2))
    assert (made.name, made.policy.retry.attempts) == ("again", 2)


def test_a_result_in_the_place_of_a_backend_says_to_unwrap_it() -> None:
    connected: Any = connect("local://")
    for use in (run, submit):
        with pytest.raises(TypeError, match=r"write on=connect\(\.\.\.\)\.unwrap\(\)"):
            use(fetch("u"), on=connected)
    failed: Any = connect("nothing://here")
    assert isinstance(failed.failure(), Misconfigured)
    with pytest.raises(TypeError, match=r"there is no backend: .*nothing"):
        run(fetch("u"), on=failed)
    assert run(fetch("u"), on=local()).unwrap() == "u"
