"""What users of Hatchet's SDK write, to be killed: `python -m tests.faults.hatchet_plain WORKERS`.

It keeps so many workers going, on the engine that the environment names.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, NoReturn, TypeAlias

from onward.backends.hatchet import sdk
from tests.faults.served import THREADS, keep, note, take_time

WIDTH = 4

Body: TypeAlias = Callable[[dict[str, Any], Any], dict[str, Any]]


class Flows(NamedTuple):
    """The SDK's client, and its workflows."""

    client: Any
    chain: Any
    fan_out: Any


def flows() -> Flows:
    """A chain of three, and a fan-out whose values are added up, as DAGs."""
    sdk.load()
    import hatchet_sdk

    client = hatchet_sdk.Hatchet()
    logging.getLogger("hatchet").setLevel(logging.CRITICAL)
    chain = client.workflow(name="plain-chain", input_validator=dict)
    fan_out = client.workflow(name="plain-fan-out", input_validator=dict)
    hour = timedelta(hours=1)

    def task(flow: Any, name: str, *parents: Any) -> Callable[[Body], Any]:
        made: Callable[[Body], Any] = flow.task(
            name=name,
            parents=list(parents),
            retries=20,
            schedule_timeout=hour,
            execution_timeout=hour,
        )
        return made

    def step(given: dict[str, Any], n: int) -> dict[str, Any]:
        note(given["name"], f"step {n}")
        take_time()
        return {"n": n + 1}

    @task(chain, "first")
    def first(given: dict[str, Any], context: Any) -> dict[str, Any]:
        return step(given, given["n"])

    @task(chain, "second", first)
    def second(given: dict[str, Any], context: Any) -> dict[str, Any]:
        return step(given, context.task_output(first)["n"])

    @task(chain, "third", second)
    def third(given: dict[str, Any], context: Any) -> dict[str, Any]:
        return step(given, context.task_output(second)["n"])

    def branch(index: int) -> Any:
        @task(fan_out, f"branch-{index}")
        def run(given: dict[str, Any], context: Any) -> dict[str, Any]:
            return step(given, given["n"])

        return run

    branches = [branch(index) for index in range(WIDTH)]

    @task(fan_out, "sum", *branches)
    def add_up(given: dict[str, Any], context: Any) -> dict[str, Any]:
        note(given["name"], f"add_up {WIDTH}")
        take_time()
        return {"n": sum(context.task_output(each)["n"] for each in branches)}

    return Flows(client, chain, fan_out)


def serve() -> None:
    """Works until it is stopped."""
    made = flows()
    for flow in (made.chain, made.fan_out):
        # Its worker declares them too, but what is sent before that is lost, and is not counted.
        made.client._client.admin.put_workflow(flow.to_proto())
    worker = made.client.worker("plain", slots=THREADS, workflows=[made.chain, made.fan_out])
    print("started", flush=True)
    worker.start()


def main(workers: str) -> NoReturn:
    """Keeps so many workers going."""
    sdk.load()
    importlib.import_module("hatchet_sdk")  # once, before the first fork
    keep(int(workers), serve)


if __name__ == "__main__":
    main(*sys.argv[1:])
