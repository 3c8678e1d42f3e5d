"""A workflow of somebody's own, in Temporal's sandbox, that calls Onward's flows."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from returns.result import Failure, Success

    from onward import answer
    from onward.backends.temporal.native import child
    from tests.temporal.served import Odd, crash, double, halve, hold, inc

QUEUE = "tests"

halved = (inc >> halve).named("halved")


@workflow.defn
class Caller:
    """Calls a flow, and goes on with what became of it."""

    @workflow.run
    async def run(self, n: int) -> str:
        call = halved(n) if n else (crash >> halve)(n)
        match answer(await child(call, task_queue=QUEUE)):
            case Success(value):
                return f"value {value}"
            case Failure(error):
                return f"odd {error.number}" if isinstance(error, Odd) else type(error).__name__


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
