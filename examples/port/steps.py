"""The same shop, one task further at each step. Each function is what stands there at that step."""

from celery import Celery, chain

from examples.port import shop
from onward import Catalog, Flow, task
from onward.bridges import adopted, celery_signature

charge = task(shop.pay, name="charge")
ship = task(shop.send, name="ship")
check = task(shop.in_stock, name="check")

CATALOG = Catalog(check, charge, ship)


def ship_is_ported(app: Celery, order: int) -> object:
    """The canvas stays. Its last task is a call of Onward's now."""
    canvas = chain(
        app.signature("shop.check", (order,)),
        app.signature("shop.charge"),
        celery_signature(ship, app=app),
    )
    return canvas.apply_async().get(timeout=60)


def charge_is_ported(app: Celery, order: int) -> object:
    """Two tasks are a flow, and the canvas has one signature for both."""
    canvas = chain(
        app.signature("shop.check", (order,)),
        celery_signature(charge >> ship, app=app),
    )
    return canvas.apply_async().get(timeout=60)


def flow_is_ported(app: Celery) -> Flow[[int], str]:
    """The flow is Onward's. Its first step is still a task of the app, in the app's worker."""
    there = adopted.celery("shop.check", shop.in_stock, on=app)
    return there >> charge >> ship


def check_is_ported() -> Flow[[int], str]:
    """No Celery is left."""
    return check >> charge >> ship
