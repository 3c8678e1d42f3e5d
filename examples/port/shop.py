"""What the shop does, which no step changes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paid:
    order: int
    cents: int


def in_stock(order: int) -> int:
    return order


def pay(order: int) -> Paid:
    return Paid(order, 100 * order)


def send(paid: Paid) -> str:
    return f"order {paid.order} was shipped for {paid.cents} cents"
