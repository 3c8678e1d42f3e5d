"""Orders that wait for their payment, and reminders that sleep before they are sent."""

from onward import Signal, awaits, keep, sleep, spread, task

paid = Signal("paid", int)


@task
def reserve(order: int) -> int:
    return order


@task
def ship(order: int, cents: int) -> str:
    return f"order {order} is shipped for {cents} cents"


@task
def remind(order: int) -> str:
    return f"order {order} is reminded of"


@task
def report(day: str) -> str:
    return f"report of {day}"


orders = (reserve >> keep(awaits(paid)) >> spread(ship)).named("orders")
reminders = (reserve >> sleep(1) >> remind).named("reminders")
