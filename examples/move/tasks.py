"""Orders that are priced, wait for an approval, and are shipped."""

from dataclasses import dataclass

from onward import Signal, awaits, current, keep, spread, task

approved = Signal("approved", bool)


@dataclass(frozen=True)
class Priced:
    order: int
    cents: int


def say(text: str) -> None:
    print(f"{text}\n", end="", flush=True)  # in one piece, because several steps run at once


@task
def price(order: int) -> Priced:
    say(f"order {order} is priced, call {current().id}")
    return Priced(order, 1250 + order)


@task
def ship(priced: Priced, is_approved: bool) -> str:
    say(f"order {priced.order} goes on, call {current().id}")
    return f"order {priced.order} {'shipped' if is_approved else 'sent back'}"


@task
def close_order(order: int) -> None:
    say(f"order {order} is closed")


orders = (price >> keep(awaits(approved)) >> spread(ship)).finally_(close_order).named("orders")
