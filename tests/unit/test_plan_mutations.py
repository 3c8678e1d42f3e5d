"""No bytes do harm, whatever was done to a plan or an outcome."""

import random
import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from msgspec import Raw
from returns.result import Failure, Result, Success

from onward import (
    BadPayload,
    Fault,
    Raised,
    TooLarge,
    each,
    identity,
    local,
    outcome,
    plan,
    submit,
    together,
)
from onward.evaluate import evaluate
from onward.flows.flow import AnyFlow
from onward.outcome import Faulted, Outcome, Value, faulted
from onward.plan import (
    MAX_DEPTH,
    MAX_NODES,
    Args,
    ChainNode,
    EachNode,
    Node,
    Plan,
    Runnable,
    TogetherNode,
)
from onward.policy import Delivery
from onward.testing.tasks import halve, mend
from tests.unit.plans import MINIMAL, OUTCOMES, PLANS, STEP, of, whole_flow, with_root

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
