"""The wire form: what it is, that it keeps, and that no bytes do harm.

`tests/golden` holds a file for each kind of node and of outcome.
"""

import random
import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import Raw
from returns.result import Failure, Result, Success

from onward import (
    BadPayload,
    Constant,
    Exponential,
    Fault,
    Raised,
    Retry,
    TooLarge,
    Unsupported,
    each,
    fused,
    identity,
    keep,
    local,
    outcome,
    plan,
    submit,
    tee,
    together,
)
from onward import given as given_
from onward.backend import Submission
from onward.evaluate import evaluate
from onward.flows.flow import AnyFlow
from onward.interpret.prepare import prepare
from onward.outcome import Faulted, Outcome, Value, faulted
from onward.plan import (
    MAX_DEPTH,
    MAX_NODES,
    NEWEST,
    VERSION,
    Args,
    ChainNode,
    EachNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Plan,
    RescueNode,
    Runnable,
    StepNode,
    TeeNode,
    TogetherNode,
)
from onward.policy import Delivery
from onward.testing import flows
from onward.testing.tasks import Odd, halve, mend, shrink

GOLDEN = Path(__file__).parent.parent / "golden"

STEP = StepNode(task="fetch")
CAREFUL = StepNode(
    task="store",
    given=Args((Raw(b'"rows"'),), {"strict": Raw(b"true")}),
    attempts=5,
    backoff=Exponential(0.5, factor=3.0, max=60.0, jitter=0.2),
    retry_on=("OSError", "my.errors.Busy"),
    retry_never=("FileNotFoundError",),
    timeout=30.0,
    queue="db",
    priority=9,
)


def of(root: Node) -> Plan:
    return Plan(
        v=plan.version_of(root), id="0123abcd", flow="golden", root=root, args=Args((Raw(b"1"),))
    )


PLANS: dict[str, Plan] = {
    "step": of(CAREFUL),
    "chain": of(ChainNode((STEP, CAREFUL))),
    "together": of(TogetherNode((STEP, ChainNode(())))),
    "each": of(ChainNode((EachNode(STEP), EachNode(FusedNode(body=EachNode(STEP)), 4, 100)))),
    "rescue": of(RescueNode(STEP, CAREFUL)),
    "fused": of(
        FusedNode(body=ChainNode((STEP, STEP)), attempts=2, backoff=Constant(2.0), timeout=9.5)
    ),
    "named": of(NamedNode("ingest", STEP)),
    "keep": of(KeepNode(STEP)),
    "tee": of(ChainNode((TeeNode(STEP), STEP))),
    "plan": Plan(
        v=VERSION,
        id="0123abcd",
        flow="golden",
        root=STEP,
        args=Args((Raw(b"1"), Raw(b'{"a":[null]}')), {"sep": Raw(b'";"')}),
        key="order-7",
        deadline=1_700_000_000.5,
        queue="bulk",
        priority=0,
    ),
}
OUTCOMES: dict[str, Outcome] = {
    "value": Value(Raw(b'{"rows":[1,2.5,null]}')),
    "error": halve.signature.give(Failure(Odd(3)), "halve"),
    "fault": faulted(
        Raised("fetch", "OSError", "no route", "Traceback ...", 2, ("OSError", "Exception"))
    ),
}


def whole_flow() -> AnyFlow:
    """A flow that compiles to every kind of node."""
    retried = halve.with_(retry=Retry(2, Constant(1.0), on=(OSError,)), timeout=5, queue="db")
    return (
        together(retried, identity)
        >> each(given_(shrink, by=2).rescue(mend), limit=8, chunk=2)
        >> fused(identity >> each(halve), priority=1)
    ).named("whole")


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
    if b'"outcome":' in raw:
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
DELIVERY: dict[str, SearchStrategy[Any]] = {
    "attempts": st.integers(1, 10_000),
    "backoff": backoffs,
    "retry_on": st.lists(names, max_size=2).map(tuple),
    "retry_never": st.lists(names, max_size=2).map(tuple),
    "timeout": st.none() | seconds,
    "queue": st.none() | names,
    "priority": st.none() | st.integers(0, 9),
}
counts = st.none() | st.integers(1, 1_000_000_000)


def wider(inner: SearchStrategy[Node]) -> SearchStrategy[Node]:
    several = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        several.map(ChainNode),
        several.map(TogetherNode),
        st.builds(EachNode, inner, counts, counts),
        st.builds(RescueNode, inner, inner),
        st.builds(FusedNode, body=inner, **DELIVERY),
        st.builds(NamedNode, names, inner),
        st.builds(KeepNode, inner),
        st.builds(TeeNode, inner),
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
    for node in (KeepNode(STEP), TeeNode(STEP)):
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

MINIMAL = plan.encode(of(STEP))


def with_root(raw: bytes) -> bytes:
    return MINIMAL.replace(b'{"op":"step","task":"fetch"}', raw)


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


# -- mutations --------------------------------------------------------------------------------

INPUTS = 100_000
Mutate: TypeAlias = Callable[[bytes, random.Random], bytes]

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null|[{}\[\]:,]')
TOKENS = [
    b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"0", b"-1", b"1", b"2", b"9", b"1.5",
    b"1e999", b"-1e999", b"NaN", b"1e-400", b"9" * 30, b"9" * 400, b'""', b'"a"', b'"\\ud800"',
    b'"\\u0000"', b'"\xff"', b'"' + b"x" * 300 + b'"', b"[" * 200 + b"]" * 200, b'{"a":1,"a":2}',
    b'"op"', b'"step"', b'"chain"', b'"each"', b'"together"', b'"rescue"', b'"fused"', b'"named"',
    b'"body"', b'"steps"', b'"branches"', b'"handler"', b'"task"', b'"v"', b'"args"', b'"given"',
    b'"positional"', b'"keyword"', b'"limit"', b'"chunk"', b'"backoff"', b'"kind"', b'"constant"',
    b'{"op":"chain","steps":[]}', b'{"op":"together","branches":[]}', b'{"op":"step","task":"t"}',
]  # fmt: skip


def some_byte(raw: bytes, at: random.Random) -> bytes:
    index = at.randrange(len(raw))
    return raw[:index] + bytes([at.randrange(256)]) + raw[index + 1 :]


def some_slice(raw: bytes, at: random.Random) -> bytes:
    start, end, to = sorted(at.randrange(len(raw) + 1) for _ in range(3))
    return raw[:start] + raw[start:end] * at.choice([0, 2, 3]) + raw[to:]


def some_token(raw: bytes, at: random.Random) -> bytes:
    tokens = TOKEN.findall(raw) or [b""]
    for _ in range(at.choice([1, 1, 2, 3])):
        tokens[at.randrange(len(tokens))] = at.choice(TOKENS)
    return b"".join(tokens)


def some_member_twice(raw: bytes, at: random.Random) -> bytes:
    tokens = TOKEN.findall(raw) or [b""]
    index = at.randrange(len(tokens))
    key = at.choice([token for token in tokens if token.startswith(b'"')] or TOKENS)
    return b"".join([*tokens[:index], key, b":", at.choice(TOKENS), b",", *tokens[index:]])


def some_nodes(raw: bytes, at: random.Random) -> bytes:
    leaf = b'{"op":"step","task":"fetch"}'
    wraps = [
        (b'{"op":"chain","steps":[%s,%s]}', 2),
        (b'{"op":"together","branches":[%s,%s]}', 2),
        (b'{"op":"each","body":%s}', 1),
        (b'{"op":"each","chunk":2,"body":%s}', 1),
        (b'{"op":"rescue","body":%s,"handler":%s}', 2),
        (b'{"op":"fused","body":%s}', 1),
        (b'{"op":"named","name":"n","body":%s}', 1),
        (b'{"op":"chain","steps":[]}', 0),
    ]
    node = leaf
    for _ in range(at.randrange(6)):
        wrap, count = at.choice(wraps)
        node = wrap % at.choice([(node, leaf), (leaf, node), (node, node)])[:count]
    return raw.replace(leaf, node)


MUTATIONS: list[Mutate] = [some_byte, some_slice, some_token, some_member_twice, some_nodes]


def mutated(originals: list[bytes], count: int) -> Iterator[bytes]:
    at = random.Random(20_260)
    for _ in range(count):
        raw = at.choice(originals)
        for _ in range(at.choice([1, 1, 1, 2, 4])):
            raw = at.choice(MUTATIONS)(raw, at) or raw
        yield raw


async def passes_on(step: Runnable, args: Args, where: str) -> Outcome:
    """What a worker of steps that give what they take would answer."""
    assert isinstance(step, Delivery)
    return Value(args.positional[0]) if args.positional else faulted(Raised(where, "E", "none"))


def evaluated(sent: Plan) -> object:
    try:
        evaluate(sent.root, sent.args, passes_on, in_flight=1).send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited, and nothing in it could")


def test_no_bytes_do_harm_whatever_was_done_to_a_plan() -> None:
    originals = [plan.encode(each) for each in (*PLANS.values(), of(whole_flow().node))]
    read = 0
    for raw in mutated(originals, INPUTS):
        decoded = plan.decode(raw)
        if isinstance(decoded, Failure):
            assert isinstance(decoded.failure(), Fault)
            continue
        sent: Plan = decoded.unwrap()
        read += 1
        assert isinstance(evaluated(sent), Outcome)
    assert 0.02 * INPUTS < read < 0.98 * INPUTS


def test_no_bytes_do_harm_whatever_was_done_to_an_outcome() -> None:
    readers: list[AnyFlow] = [
        halve,
        halve.rescue(mend),
        each(together(identity, halve)),
        whole_flow(),
    ]
    originals = [outcome.encode(each) for each in OUTCOMES.values()]
    originals += [outcome.encode(Value(Raw(raw))) for raw in (b"3", b"[[1,2],[3,4]]", b"[1]")]
    for raw in mutated(originals, INPUTS // 10):
        found = outcome.decode(raw)
        assert isinstance(found, Outcome)
        assert all(isinstance(reader.read(found), Result) for reader in readers)


def test_a_small_plan_that_doubles_its_value_again_and_again_ends_as_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that the test need not take all that is allowed.
    monkeypatch.setattr("onward.evaluate.MAX_JOINED", 1_000_000)
    twice = TogetherNode((ChainNode(()), ChainNode(())))
    found = evaluated(of(ChainNode((twice,) * 24)))
    assert isinstance(found, Faulted)
    assert isinstance(found.fault, TooLarge)


def test_flows_of_the_deepest_nesting_are_evaluated() -> None:
    root: Node = STEP
    for _ in range(4 * MAX_DEPTH - 1):
        root = EachNode(root)
    sent = plan.decode(plan.encode(of(root))).unwrap()
    assert isinstance(evaluated(sent), Faulted)


def test_a_plan_of_too_many_steps_is_refused_before_it_is_read() -> None:
    steps = b",".join([b'{"op":"step","task":"t"}'] * MAX_NODES)
    for op, part in ((b"chain", b"steps"), (b"together", b"branches")):
        root = b'{"op":"%b","%b":[%b]}' % (op, part, steps)
        fault = plan.decode(with_root(root)).failure()
        assert isinstance(fault, BadPayload)
        assert "more than 100,000 steps" in fault.message


def test_arguments_that_look_like_steps_are_not_counted() -> None:
    looks = b"[" + b",".join([b'{"op":"step","steps":[]}'] * (MAX_NODES + 1)) + b"]"
    assert isinstance(plan.decode(MINIMAL.replace(b"[1]", b"[%b]" % looks)), Success)


def test_a_call_of_too_many_steps_is_refused_before_it_is_submitted() -> None:
    whole: Any = halve
    for _ in range(17):  # 2**17 of them
        whole = whole >> whole
    fault = submit(whole(1), on=local()).failure()
    assert isinstance(fault, BadPayload)
    assert "more than 100,000 steps" in fault.message
