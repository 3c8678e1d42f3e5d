"""`explain` shows every kind of flow, as text and as a chart."""

import re
import textwrap
from typing import Any

import pytest
from hypothesis import given as when

from onward import Fault, Retry, each, explain, fused, given, identity, task, together
from onward.flows.flow import AnyFlow
from onward.flows.nodes import parts, walk
from onward.testing import flows


@task(retry=Retry(attempts=5), timeout=30, queue="net", priority=9)
def fetch(url: str) -> str:
    return url


@task
def parse(text: str, sep: str, strict: bool = False) -> list[int]:
    return []


@task
def store(n: int) -> int:
    return n


@task
def instead(error: Fault) -> list[int]:
    return []


WHOLE = (
    fetch
    >> given(parse, ";", strict=True).rescue(instead)
    >> each(fused(store >> store, timeout=5).named("twice"), limit=8, chunk=100)
    >> together(identity, each(store))
).named("ingest")


def shown(text: str) -> str:
    return textwrap.dedent(text).strip()


def test_a_tree_has_every_part_in_the_order_in_which_it_runs() -> None:
    assert explain(WHOLE) == shown(
        """
        ingest
        ├── fetch (5 attempts, timeout 30 s, queue net, priority 9)
        ├── rescue
        │   ├── try: parse given ..., strict=...
        │   └── else: instead
        ├── each (8 at a time, 100 to a delivery)
        │   └── twice
        │       └── fused (timeout 5 s)
        │           └── chain
        │               ├── store
        │               └── store
        └── together
            ├── identity
            └── each
                └── store
        """
    )


def test_a_call_is_explained_as_its_flow() -> None:
    assert explain(WHOLE("https://example.org")) == explain(WHOLE)


def test_a_single_task_is_one_line() -> None:
    assert explain(store) == "store"


def test_a_chart_leads_from_each_step_to_the_next() -> None:
    assert explain(
        fetch.with_(retry=None, timeout=None, queue=None, priority=None)
        >> given(parse, ";")
        >> each(store),
        form="mermaid",
    ) == shown(
        """
        flowchart TD
        n1["fetch"]
        n2["parse given ..."]
        n1 --> n2
        subgraph g3["each"]
        n4["store"]
        n2 --> n4
        end
        """
    )


def test_a_chart_shows_what_happens_to_failures() -> None:
    chart = explain(given(parse, ";").rescue(instead), form="mermaid")
    assert re.search(r"n\d+ -\. fails \.-> n\d+", chart)


def test_a_chart_survives_what_is_in_names() -> None:
    chart = explain(task(name='"quoted"<b>&]});end%%#quot;')(store.fn), form="mermaid")
    [node] = [line for line in chart.splitlines() if "quoted" in line]
    label = node[node.index('["') + 2 : node.rindex('"]')]
    assert not re.search(r'["<]|&(?!\w+;)', label)


@when(flows())
def test_any_flow_can_be_explained(flow: AnyFlow) -> None:
    tree = explain(flow)
    for part in walk(flow):
        if not parts(part):
            assert repr(part) in tree
    chart = explain(flow, form="mermaid")
    named = set(re.findall(r"^(n\d+)\[", chart, re.MULTILINE))
    joined = set(re.findall(r"\b(n\d+)\b", re.sub(r'\["[^\n]*', "", chart)))
    assert joined == named
    assert chart.count("subgraph") == len(re.findall(r"^end$", chart, re.MULTILINE))


def test_what_cannot_be_explained_is_refused() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="5 is not a flow"):
        explain(wrong)
    wrong = "dot"
    with pytest.raises(ValueError, match="form is 'tree' or 'mermaid', not 'dot'"):
        explain(store, form=wrong)


def test_a_fan_out_says_that_a_failure_cancels_the_rest() -> None:
    flow = each(store, limit=2, on_failure="cancel")
    both = together(flow, each(store), on_failure="cancel")
    assert repr(both) == (
        "together(each(store, limit=2, on_failure='cancel'), each(store), on_failure='cancel')"
    )
    assert explain(both) == shown(
        """
        together (a failure cancels the rest)
        ├── each (2 at a time, a failure cancels the rest)
        │   └── store
        └── each
            └── store
        """
    )
    assert explain(both, form="mermaid").count("a failure cancels the rest") >= 1
