"""Somebody's Celery app, which runs in a process of its own."""

import os
import time
from pathlib import Path

from celery import Celery

from onward import connect
from onward.bridges.celery import celery_calls

app = Celery("shop", broker=os.environ["SHOP"], backend=os.environ["SHOP"])
app.conf.task_default_queue = os.environ["QUEUE"]
celery_calls(app, on=connect(os.environ["ONWARD"]).unwrap())


@app.task(name="shop.price")
def price(item: str) -> int:
    return len(item)


class CardDeclined(Exception):
    """A bank's answer."""


@app.task(name="shop.charge")
def charge(card: str, cents: int = 100) -> dict[str, object]:
    if card == "bad":
        raise CardDeclined(f"no {cents}")
    return {"card": card, "cents": cents}


@app.task(name="shop.hold")
def hold(folder: str) -> None:
    Path(folder, "begun").touch()
    while not Path(folder, "let-go").exists():
        time.sleep(0.01)


@app.task(name="shop.bill")
def bill(cents: int) -> str:
    return f"{cents} cents"
