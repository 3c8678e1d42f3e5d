"""Wrong programs on Celery. No type checker refuses one, and Celery builds them all.

`on_onward.py` has their twins. The checkers are given Celery's types as the stubs of celery-types
have them; without the stubs they take all of Celery for Any.
"""

from typing import Any

from celery import Celery, chain
from celery.canvas import Signature

app = Celery("shop", set_as_current=False)


@app.task(name="fetch")
def fetch(url: str) -> bytes:
    return url.encode()


@app.task(name="store")
def store(rows: list[int], table: str) -> int:
    return len(rows)


def bytes_for_a_list_of_int() -> Signature[Any]:
    return fetch.s("a,b") | store.s("rows")


def a_keyword_that_there_is_not() -> Signature[Any]:
    return chain(fetch.s("a,b"), store.s(tabel="rows"))


def an_argument_too_few() -> Signature[Any]:
    return chain(fetch.s("a,b"), store.s())
