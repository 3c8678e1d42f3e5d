"""Somebody's Celery app, which runs in a process of its own."""

import os

from celery import Celery

from onward import connect
from onward.bridges.celery import celery_calls

app = Celery("shop", broker=os.environ["SHOP"], backend=os.environ["SHOP"])
app.conf.task_default_queue = os.environ["QUEUE"]
celery_calls(app, on=connect(os.environ["ONWARD"]).unwrap())


@app.task(name="shop.price")
def price(item: str) -> int:
    return len(item)


@app.task(name="shop.bill")
def bill(cents: int) -> str:
    return f"{cents} cents"
