"""A workflow of somebody's own, in Temporal's sandbox, that calls Onward's flows."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from returns.result import Failure, Success

    from onward import Fault, answer
    from onward.backends.temporal.native import child
    from tests.temporal.served import Odd, crash, double, halve, hold, inc

QUEUE = "tests"

halved = (inc >> halve).named("halved")


@workflow.defn
class Caller:
    """Calls a flow, and goes on with what became of it."""

    @workflow.run
    async def run(self, n: int) -> str:
        flow = halved if n else crash
        match answer(await child(flow(n), task_queue=QUEUE)):
            case Success(value):
                return f"value {value}"
            case Failure(Odd(number)):
                return f"odd {number}"
            case Failure(Fault() as fault):
                return type(fault).__name__


@workflow.defn
class Waiter:
    """Calls a task that takes long."""

    @workflow.run
    async def run(self, folder: str) -> str:
        return str(await child(hold(folder), task_queue=QUEUE))


@workflow.defn
class Hasty:
    """Gives a call too little time."""

    @workflow.run
    async def run(self, n: int) -> str:
        call = double(n)
        return repr(await child(call, task_queue="nobody", timeout=timedelta(seconds=1)))
