"""Plans that tests share."""

from msgspec import Raw
from msgspec.structs import replace
from returns.result import Failure

from onward import (
    Constant,
    Exponential,
    Raised,
    Retry,
    each,
    fused,
    identity,
    plan,
    together,
)
from onward import given as given_
from onward.flows.flow import AnyFlow
from onward.isolation import Isolation
from onward.limit import StepLimit
from onward.outcome import Outcome, Value, faulted
from onward.plan import (
    NEWEST,
    VERSION,
    Args,
    AwaitsNode,
    CaseNode,
    ChainNode,
    EachNode,
    FinallyNode,
    FixedNode,
    FusedNode,
    KeepNode,
    NamedNode,
    Node,
    Past,
    Plan,
    RescueNode,
    SleepNode,
    SpreadNode,
    StepNode,
    TeeNode,
    TogetherNode,
)
from onward.routing import Field, Route
from onward.testing.kinds import Odd
from onward.testing.tasks import halve, mend, shrink

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
    "together-cancel": of(TogetherNode((STEP, STEP), "cancel")),
    "each-cancel": of(EachNode(FusedNode(body=EachNode(STEP)), 4, 100, on_failure="cancel")),
    "each": of(ChainNode((EachNode(STEP), EachNode(FusedNode(body=EachNode(STEP)), 4, 100)))),
    "rescue": of(RescueNode(STEP, CAREFUL)),
    "rescue-with-input": of(RescueNode(STEP, CAREFUL, with_input=True)),
    "finally": of(ChainNode((STEP, FinallyNode(STEP, CAREFUL)))),
    "fused": of(
        FusedNode(body=ChainNode((STEP, STEP)), attempts=2, backoff=Constant(2.0), timeout=9.5)
    ),
    "limit": of(
        ChainNode(
            (
                replace(STEP, limit=StepLimit("fetch", concurrency=3, keyed=True)),
                FusedNode(body=STEP, limit=StepLimit("openai", rate=60, per=60.0)),
                replace(STEP, limit=StepLimit("fair", 10, keyed=True, fair=True)),
            )
        )
    ),
    "isolated": of(
        ChainNode(
            (
                replace(STEP, isolate=Isolation()),
                FusedNode(body=STEP, isolate=Isolation(max_tasks=100, max_memory=512.0)),
            )
        )
    ),
    "call-limit": replace(
        of(NamedNode("ingest", STEP, StepLimit("ingest", concurrency=2, keyed=True))),
        limit_key="ann",
    ),
    "named": of(NamedNode("ingest", STEP)),
    "keep": of(KeepNode(STEP)),
    "tee": of(ChainNode((TeeNode(STEP), STEP))),
    "spread": of(ChainNode((KeepNode(STEP), SpreadNode(STEP)))),
    "fixed": of(ChainNode((FixedNode(STEP), FixedNode(STEP, CAREFUL.given)))),
    "sleep": of(ChainNode((STEP, SleepNode(86_400.0)))),
    "awaits": of(ChainNode((AwaitsNode("decision"), AwaitsNode("decision", 60.0)))),
    "case": of(
        CaseNode(
            (STEP, CAREFUL, STEP),
            (
                Route(("Card",), ("object",), gives=(("object", "Receipt"),)),
                Route(("Fault",), keeps_tag=True),
                Route(fields=(Field("type", ("cash", 1)),)),
            ),
        )
    ),
    "past": Plan(
        v=NEWEST,
        id="4567cdef",
        flow="golden",
        root=ChainNode((STEP, STEP, SleepNode(60.0), STEP)),
        args=Args((Raw(b"1"),)),
        past=Past(
            "0123abcd",
            {"0": Value(Raw(b'{"rows":[]}')), "1": Value(Raw(b"2"))},
            {"2": 1_700_000_000.5},
            {"3": Args((Raw(b"3"),), {"strict": Raw(b"true")})},
        ),
    ),
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


MINIMAL = plan.encode(of(STEP))


def with_root(raw: bytes) -> bytes:
    return MINIMAL.replace(b'{"op":"step","task":"fetch"}', raw)
