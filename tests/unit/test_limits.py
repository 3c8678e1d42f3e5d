"""Limits are checked where they are made, and a step's key comes from its arguments."""

from typing import Any

import pytest
from msgspec import Raw
from returns.result import Success

from onward import (
    Catalog,
    Limit,
    Misconfigured,
    Secret,
    check,
    each,
    explain,
    fused,
    given,
    limited,
    local,
    run,
    task,
)
from onward.backend import Submission
from onward.execute import limit_key
from onward.flows.flow import AnyTask
from onward.interpret.prepare import prepare
from onward.limit import StepLimit, on_wire
from onward.outcome import Faulted
from onward.plan import NEWEST, VERSION, Args, StepNode, version_of


def wrong(value: object) -> Any:
    """A value that the type checker would refuse here, and that a user may pass all the same."""
    return value


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing": (Limit, ValueError, "a concurrency, a rate or both"),
    "no place": (lambda: Limit(concurrency=0), ValueError, "from 1 to"),
    "a text": (lambda: Limit(concurrency=wrong("3")), TypeError, "write concurrency=5"),
    "truth": (lambda: Limit(concurrency=True), TypeError, "write concurrency=5"),
    "half": (lambda: Limit(rate=wrong(1.5)), TypeError, "write rate=60, per="),
    "never": (lambda: Limit(rate=-1), ValueError, "from 1 to"),
    "another word": (lambda: Limit(rate=1, per=wrong("week")), ValueError, "'day', or a number"),
    "no time": (lambda: Limit(rate=1, per=0), ValueError, "more than 0"),
    "time as nothing": (lambda: Limit(rate=1, per=wrong(None)), TypeError, "per is a number"),
    "key as text": (lambda: Limit(1, key=wrong("url")), TypeError, "key=lambda"),
    "fair without key": (lambda: Limit(1, fair=True), ValueError, "needs a key"),
    "fair as key": (lambda: Limit(1, fair=wrong(str)), TypeError, "key=... and fair=True"),
    "name": (lambda: Limit(1, name="a b"), ValueError, "write 'a_b'"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_a_limit_that_makes_no_sense_says_what_to_write(
    case: tuple[Any, type[Exception], str],
) -> None:
    make, kind, message = case
    with pytest.raises(kind, match=message):
        make()


@task
def charge(customer: str, amount: int = 1, *, currency: str = "EUR") -> int:
    return amount


@task
def double(n: int) -> int:
    return 2 * n


def by_customer(customer: str, amount: int, *, currency: str) -> str:
    return customer


async def later(customer: str, amount: int, *, currency: str) -> str:
    return customer


def keyed(key: Any) -> AnyTask:
    return charge.with_(limit=Limit(concurrency=1, key=key))


def key_of(limited: AnyTask, *args: Any, **kwargs: Any) -> str | Faulted:
    step = limited.node
    assert isinstance(step, StepNode)
    call = limited(*args, **kwargs)
    assert isinstance(call.args, Args)
    return limit_key(step, call.args, {limited.name: limited})


def message_of(found: str | Faulted) -> str:
    assert isinstance(found, Faulted)
    assert isinstance(found.fault, Misconfigured)
    return found.fault.message


def test_a_key_takes_what_the_task_takes() -> None:
    with pytest.raises(TypeError, match=r"\(customer, amount, currency\).*key=lambda customer"):
        keyed(lambda customer: customer)
    with pytest.raises(TypeError, match="async"):
        keyed(later)
    with pytest.raises(TypeError, match="neither a task nor a flow with a name"):
        limited(double >> double, Limit(concurrency=1))
    with pytest.raises(TypeError, match="does not take the task's parameters"):
        limited(charge.named("charging"), Limit(1), key=wrong(lambda: 1))
    with pytest.raises(TypeError, match="a fused flow has no key"):
        fused(double, limit=Limit(1, key=lambda n: n))


def test_a_key_is_what_the_function_gives_for_the_arguments_and_their_defaults() -> None:
    assert key_of(keyed(by_customer), "ann") == "ann"
    assert key_of(keyed(lambda customer, amount, currency: amount), "ann") == "1"
    assert key_of(keyed(lambda customer, amount, currency: currency), "ann", currency="x") == "x"
    assert key_of(keyed(lambda *args, **kwargs: f"{args} {kwargs}"), "ann", 2) == (
        "('ann', 2) {'currency': 'EUR'}"
    )
    bound = given(keyed(by_customer), 7).node
    assert isinstance(bound, StepNode)
    assert limit_key(bound, Args((Raw(b'"bob"'),)), {"charge": keyed(by_customer)}) == "bob"
    assert key_of(limited(double, Limit(rate=1)), 3) == ""


def test_a_long_key_is_cut_and_stays_different_from_others() -> None:
    one = key_of(keyed(by_customer), "x" * 10_000)
    other = key_of(keyed(by_customer), "x" * 9_999)
    assert isinstance(one, str)
    assert isinstance(other, str)
    assert one != other
    assert len(one) == len(other) == 100


def test_a_key_that_raises_or_is_no_key_is_a_fault_of_its_step() -> None:
    def raises(customer: str, amount: int, *, currency: str) -> str:
        raise KeyError(customer)

    assert "key= raised KeyError: 'ann'" in message_of(key_of(keyed(raises), "ann"))
    none = keyed(lambda customer, amount, currency: None)
    assert "a key is a text or a whole number, not NoneType" in message_of(key_of(none, "ann"))
    step = keyed(by_customer).node
    assert isinstance(step, StepNode)
    unserved = limit_key(step, Args((Raw(b'"ann"'),)), {"charge": charge})
    assert "Serve the task with its limit" in message_of(unserved)


def test_a_key_made_of_a_secret_shows_none_of_it() -> None:
    @task(limit=Limit(1, key=lambda token: token.get_secret_value()))
    def ask(token: Secret[str]) -> int:
        return 1

    key = key_of(ask, Secret("hunter2"))
    assert isinstance(key, str)
    assert "hunter2" not in key


def test_the_wire_has_the_name_and_the_numbers_of_a_limit() -> None:
    assert on_wire(Limit(rate=60, per="minute"), "fetch") == StepLimit("fetch", None, 60, 60.0)
    assert on_wire(Limit(3, name="db"), "fetch") == StepLimit("db", 3)
    per_key, fair = Limit(3, key=str), Limit(3, key=str, fair=True)
    assert on_wire(per_key, "fetch").pool("a") != on_wire(per_key, "fetch").pool("b")
    assert on_wire(fair, "fetch").pool("a") == on_wire(fair, "fetch").pool("b") == "fetch"


def test_a_release_that_does_not_know_limits_refuses_a_plan_with_one() -> None:
    limit = Limit(1)
    for limited_flow in (double.with_(limit=limit), fused(double, limit=limit)):
        assert version_of(limited_flow.node) == version_of((double >> limited_flow).node) == NEWEST
    assert version_of((double >> double.with_(limit=limit).with_(limit=None)).node) == VERSION


def test_the_text_of_a_flow_shows_its_limits() -> None:
    assert "double (limit 3 at a time, 60 per minute)" in explain(
        double.with_(limit=Limit(3, 60, "minute"))
    )
    assert "in turn by key" in explain(double.with_(limit=Limit(3, key=lambda n: n, fair=True)))


def test_a_limit_within_fused_is_refused_before_anything_is_submitted() -> None:
    inner = double.with_(limit=Limit(1))
    for call in (fused(double >> inner)(1), each(inner, chunk=2)([1])):
        faults = check(wrong(call), on=local()).failure()
        [fault] = [it for it in faults if isinstance(it, Misconfigured)]
        assert fault.task == "double"
        assert "fused(flow, limit=Limit(...))" in fault.message


def test_tasks_that_share_a_limit_have_the_same_numbers() -> None:
    one = double.with_(limit=Limit(1, name="db"))
    Catalog(one, charge.with_(limit=Limit(1, name="db")))
    with pytest.raises(ValueError, match="'double' and 'charge' share the limit 'db'"):
        Catalog(one, charge.with_(limit=Limit(2, name="db")))


def test_a_catalog_keeps_the_key_of_a_task_that_is_served_with_and_without() -> None:
    by_key = keyed(by_customer)
    for catalog in (Catalog(charge, by_key), Catalog(by_key, charge)):
        assert catalog.tasks["charge"].policy.limit is not None
    with pytest.raises(ValueError, match="two different keys"):
        Catalog(by_key, keyed(lambda customer, amount, currency: currency))


def test_the_key_of_a_flow_is_computed_when_its_call_is_submitted() -> None:
    def by(customer: str, amount: int = 1, *, currency: str = "EUR") -> str:
        return {"ann": "a"}[customer]

    charging = limited(charge.named("charging"), Limit(1), key=by)
    prepared = prepare(charging("ann"), None, 0.0, None, {})
    assert isinstance(prepared, Submission)
    assert prepared.plan.limit_key == "a"
    assert prepared.plan.call_limit == StepLimit("charging", 1, keyed=True)
    assert run(charging("ann", 7), on=local()) == Success(7)
    fault = run(charging("bob"), on=local()).failure()
    assert isinstance(fault, Misconfigured)
    assert "key= raised KeyError: 'bob'" in fault.message
    each_item = limited(each(double).named("all"), Limit(1), key=len)
    assert run(each_item([1, 2]), on=local()) == Success([2, 4])


def test_a_catalog_serves_a_flow_with_and_without_its_limit() -> None:
    plain = (double >> double).named("twice")
    assert list(Catalog(plain, limited(plain, Limit(1)))) == ["double", "twice"]
