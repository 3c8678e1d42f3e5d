"""The wire form: what it is, that it keeps, and what is no plan.

`tests/golden` holds a file for each kind of node and of outcome.
"""

import re
import tracemalloc
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import Raw
from returns.result import Success

from onward import (
    BadPayload,
    Constant,
    Exponential,
    Unsupported,
    keep,
    outcome,
    plan,
    tee,
)
from onward.backend import Submission
from onward.flows.flow import AnyFlow
from onward.interpret.prepare import prepare
from onward.limit import StepLimit
from onward.plan import (
    MAX_DEPTH,
    NEWEST,
    VERSION,
    Args,
    CaseNode,
    ChainNode,
    EachNode,
    FixedNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
)
from onward.routing import Field, Route
from onward.testing import flows
from onward.testing.tasks import halve
from tests.unit.plans import MINIMAL, OUTCOMES, PLANS, STEP, of, whole_flow, with_root

GOLDEN = Path(__file__).parent.parent / "golden"


DECIDE = """The wire form of {name} has changed. Plans in flight were written by releases that wrote
{path} as it is, and workers of those releases will be sent what this one writes.
- If they can read it all the same, and this release reads the old form (a field with a default was
  added): keep the old file as {name}-before.json, which is decoded still, and save the new form.
- If not: raise NEWEST in onward.plan, have version_of give it to the plans that need it, say so in
  CHANGELOG.md, and save the new form.
It is now:
{raw}"""


def check_golden(name: str, raw: bytes) -> None:
    path = GOLDEN / f"{name}.json"
    held = path.read_bytes() if path.exists() else b""
    assert raw + b"\n" == held, DECIDE.format(name=name, path=path.name, raw=raw.decode())


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_is_written_as_it_always_was(name: str) -> None:
    check_golden(name, plan.encode(PLANS[name]))


@pytest.mark.parametrize("name", OUTCOMES)
def test_an_outcome_is_written_as_it_always_was(name: str) -> None:
    check_golden(name, outcome.encode(OUTCOMES[name]))


def test_a_flow_compiles_to_what_it_always_did() -> None:
    check_golden("flow", plan.encode(Plan(v=VERSION, flow="whole", root=whole_flow().node)))


def test_every_kind_of_node_has_a_golden_file() -> None:
    written = "".join(file.read_text() for file in GOLDEN.glob("*.json"))
    ops = {kind.__struct_config__.tag for kind in get_args(Node)}
    assert set(re.findall(r'"op":"(\w+)"', written)) == ops


@pytest.mark.parametrize("file", sorted(GOLDEN.glob("*.json")), ids=lambda file: file.stem)
def test_what_was_ever_written_is_read(file: Path) -> None:
    raw = file.read_bytes()
    if raw.startswith(b'{"outcome":'):
        assert outcome.encode(outcome.decode(raw)) == raw.strip()
    else:
        assert isinstance(plan.decode(raw), Success)


# -- there and back ---------------------------------------------------------------------------


names = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc", "Zs"]), min_size=1, max_size=9
)


seconds = st.floats(0.001, 1e6)


raws = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
).map(lambda value: Raw(msgspec.json.encode(value)))


arguments = st.builds(
    Args, st.lists(raws, max_size=2).map(tuple), st.dictionaries(st.text(), raws, max_size=2)
)


backoffs = st.builds(Constant, seconds, st.floats(0, 1)) | st.builds(
    Exponential, seconds, st.floats(1, 1000), seconds, st.floats(0, 1)
)


some_counts = st.none() | st.integers(1, 1_000_000)

DELIVERY: dict[str, SearchStrategy[Any]] = {
    "attempts": st.integers(1, 10_000),
    "backoff": backoffs,
    "retry_on": st.lists(names, max_size=2).map(tuple),
    "retry_never": st.lists(names, max_size=2).map(tuple),
    "timeout": st.none() | seconds,
    "queue": st.none() | names,
    "priority": st.none() | st.integers(0, 9),
    "limit": st.none()
    | st.builds(StepLimit, names, some_counts, some_counts, seconds, st.booleans(), st.booleans()),
}


counts = st.none() | st.integers(1, 1_000_000_000)


some_names = st.lists(st.text(), max_size=2).map(tuple)
routes = st.builds(
    Route,
    some_names,
    some_names,
    st.lists(
        st.builds(Field, st.text(), st.lists(st.text() | st.integers(0, 9)).map(tuple)), max_size=2
    ).map(tuple),
    st.booleans(),
    st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple),
)


def wider(inner: SearchStrategy[Node]) -> SearchStrategy[Node]:
    several = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        several.map(ChainNode),
        several.map(TogetherNode),
        st.builds(EachNode, inner, counts, counts),
        st.builds(RescueNode, inner, inner, st.booleans()),
        st.builds(FusedNode, body=inner, **DELIVERY),
        st.builds(NamedNode, names, inner),
        st.builds(KeepNode, inner),
        st.builds(TeeNode, inner),
        st.builds(SpreadNode, inner),
        st.builds(FixedNode, inner, arguments),
        st.lists(st.tuples(inner, routes), max_size=3).map(
            lambda pairs: CaseNode(tuple(it for it, _ in pairs), tuple(it for _, it in pairs))
        ),
    )


nodes: SearchStrategy[Node] = st.recursive(
    st.builds(StepNode, task=names, given=arguments, **DELIVERY), wider, max_leaves=6
)


plans = st.builds(
    Plan,
    v=st.sampled_from([VERSION, NEWEST]),
    id=st.text(),
    flow=st.text(),
    root=nodes,
    args=arguments,
    key=st.none() | st.text(),
    deadline=st.none() | st.floats(0, 1e11),
    queue=st.none() | names,
    priority=st.none() | st.integers(0, 9),
)


@given(plans)
def test_a_plan_comes_back_as_it_was(sent: Plan) -> None:
    back = plan.decode(plan.encode(sent))
    assert back == Success(sent)
    assert hash(back.unwrap()) == hash(sent)


def test_only_a_plan_that_needs_it_has_the_newest_version() -> None:
    assert plan.version_of(STEP) == plan.version_of(TogetherNode((STEP, STEP))) == VERSION
    choice = CaseNode((STEP,), (Route(("Card",)),))
    new = (KeepNode(STEP), TeeNode(STEP), SpreadNode(STEP), FixedNode(STEP), choice)
    for node in (*new, RescueNode(STEP, STEP, with_input=True)):
        assert plan.version_of(EachNode(node)) == NEWEST
    for flow, version in ((halve, VERSION), (tee(halve), NEWEST), (halve >> keep(halve), NEWEST)):
        prepared = prepare(flow(4), None, 0, None, {})
        assert isinstance(prepared, Submission)
        assert prepared.plan.v == version


@given(flows())
def test_any_flow_comes_back_as_it_was(flow: AnyFlow) -> None:
    sent = of(flow.node)
    assert plan.decode(plan.encode(sent)) == Success(sent)


# -- what is no plan --------------------------------------------------------------------------


def nested(opening: bytes, closing: bytes, count: int) -> bytes:
    return opening * count + b'{"op":"step","task":"fetch"}' + closing * count


@pytest.mark.parametrize("version", [0, 3, -1, 10**18])
def test_a_version_that_cannot_be_read_is_unsupported(version: int) -> None:
    raw = MINIMAL.replace(b'"v":1', b'"v":%d' % version).replace(b'"op"', b'"unheard-of"')
    fault = plan.decode(raw).failure()
    assert isinstance(fault, Unsupported)
    assert f"version {version}" in fault.message
    assert "upgrade the workers before the clients" in fault.message


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "zeros": b"\0" * 1000,
    "no JSON": b"\x80\x04\x95pickle",
    "no object": b"[1]",
    "no version": MINIMAL.replace(b'"v":1,', b""),
    "a version of text": MINIMAL.replace(b'"v":1', b'"v":"1"'),
    "a version and a half": MINIMAL.replace(b'"v":1', b'"v":1.5'),
    "an endless version": MINIMAL.replace(b'"v":1', b'"v":1e400'),
    "a version of 100,000 digits": MINIMAL.replace(b'"v":1', b'"v":' + b"9" * 100_000),
    "two versions": MINIMAL.replace(b'"v":1', b'"v":1,"v":3'),
    "no root": b'{"v":1,"flow":"f"}',
    "no known node": with_root(b'{"op":"exec","code":"1"}'),
    "a node without its parts": with_root(b'{"op":"each"}'),
    "a task without a name": with_root(b'{"op":"step","task":""}'),
    "a task with an endless name": with_root(b'{"op":"step","task":"%s"}' % (b"x" * 10_000)),
    "a task that is a surrogate": with_root(b'{"op":"step","task":"\\ud800"}'),
    "a task that is no text": with_root(b'{"op":"step","task":"\xff"}'),
    "no attempt": with_root(b'{"op":"step","task":"t","attempts":0}'),
    "endless attempts": with_root(b'{"op":"step","task":"t","attempts":1000000000}'),
    "an endless timeout": with_root(b'{"op":"step","task":"t","timeout":1e300}'),
    "a timeout before it began": with_root(b'{"op":"step","task":"t","timeout":-1}'),
    "a backoff that shrinks": with_root(
        b'{"op":"step","task":"t","backoff":{"kind":"exponential","first":1,"factor":-1}}'
    ),
    "a backoff of a thousand years": with_root(
        b'{"op":"step","task":"t","backoff":{"kind":"constant","seconds":1e11}}'
    ),
    "a case with a branch that has no route": with_root(
        b'{"op":"case","branches":[{"op":"step","task":"t"}],"routes":[]}'
    ),
    "no limit": with_root(b'{"op":"each","body":{"op":"step","task":"t"},"limit":0}'),
    "a chunk of minus one": with_root(b'{"op":"each","body":{"op":"step","task":"t"},"chunk":-1}'),
    "priority ten": MINIMAL[:-1] + b',"priority":10}',
    "an endless deadline": MINIMAL[:-1] + b',"deadline":1e300}',
    "a deadline of 10,000 digits": MINIMAL[:-1] + b',"deadline":' + b"9" * 10_000 + b"}",
    "a deadline before 1970": MINIMAL[:-1] + b',"deadline":-1}',
    "nodes nested a bit too deeply": with_root(
        nested(b'{"op":"each","body":', b"}", 4 * MAX_DEPTH + 1)
    ),
    "nodes nested deeply": with_root(nested(b'{"op":"chain","steps":[', b"]}", 20_000)),
    "arguments nested deeply": MINIMAL.replace(b"[1]", b"[" * 100_000 + b"]" * 100_000),
    "arguments nested deeply in objects": MINIMAL.replace(
        b"[1]", b"[" + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]"
    ),
    "brackets that never close": b'{"v":1,"flow":' + b"[" * 1_000_000,
    "an argument cut off": MINIMAL.replace(b"[1]", b'["abc'),
}


@pytest.mark.parametrize("raw", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_plan_is_a_fault_and_takes_no_more_memory_than_it_is_long(raw: bytes) -> None:
    tracemalloc.start()
    try:
        decoded = plan.decode(raw)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(decoded.failure(), BadPayload | Unsupported)
    assert peak < 20 * len(raw) + 1_000_000


def test_a_long_plan_takes_memory_by_its_length() -> None:
    raw = with_root(
        b'{"op":"chain","steps":[' + b",".join([b'{"op":"chain","steps":[]}'] * 50_000) + b"]}"
    )
    tracemalloc.start()
    try:
        assert isinstance(plan.decode(raw), Success)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * len(raw)
