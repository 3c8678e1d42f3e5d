"""The app as it was: three tasks and a canvas, and no line of Onward."""

from dataclasses import asdict
from typing import Any

from celery import Celery, chain

from examples.port import shop


def tasks_of(app: Celery) -> None:
    @app.task(name="shop.check", shared=False)
    def check(order: int) -> int:
        return shop.in_stock(order)

    @app.task(name="shop.charge", shared=False)
    def charge(order: int) -> dict[str, Any]:
        return asdict(shop.pay(order))

    @app.task(name="shop.ship", shared=False)
    def ship(paid: dict[str, Any]) -> str:
        return shop.send(shop.Paid(**paid))


def place(app: Celery, order: int) -> object:
    check, charge, ship = (app.signature(f"shop.{name}") for name in ("check", "charge", "ship"))
    return chain(check.clone((order,)), charge, ship).apply_async().get(timeout=60)
