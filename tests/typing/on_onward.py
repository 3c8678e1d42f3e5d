# pyright: strict
"""The programs of `on_celery.py` on Onward, each with the mark of a line that is refused."""

from onward import Flow, given, task


@task
def fetch(url: str) -> bytes:
    return url.encode()


@task
def store(rows: list[int], table: str) -> int:
    return len(rows)


def bytes_for_a_list_of_int() -> Flow[..., int]:
    return fetch >> given(store, table="rows")  # E


def a_keyword_that_there_is_not() -> Flow[..., int]:
    return fetch >> given(store, tabel="rows")  # E


def an_argument_too_few() -> Flow[..., int]:
    return fetch >> store  # E
