"""Checks that a message is Onward's, before anything else is done with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
from msgspec import Meta, MsgspecError, Struct

from onward.backends.celery import lower

PLAIN = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
"""The encodings of a text. Python knows others by which a few bytes become many."""

_LATEST = datetime(9000, 1, 1, tzinfo=UTC).timestamp()
"""The last moment that Celery can wait for, as seconds since 1970."""

Body: TypeAlias = list[Any]
"""A task's arguments, its keyword arguments, and what comes after it."""


class Refusal(Struct, frozen=True):
    """Why a message is none of ours.

    Args:
        why: What is wrong with it, for a person to read.
        is_foreign: Whether it may be a task of another app, which shares the queue.
    """

    why: str
    is_foreign: bool = False


class Received(Protocol):
    """A message as the broker's client gives it, of which every part may be anything."""

    headers: Any
    body: Any
    content_type: Any
    content_encoding: Any


class Taken(Struct, frozen=True):
    """A message of ours: what Celery may see of its headers, and its body."""

    headers: dict[str, Any]
    body: Body


_Name = Annotated[str, Meta(min_length=1)]
_Id = Annotated[str, Meta(min_length=1, max_length=255)]
_Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class _Headers(Struct, frozen=True, omit_defaults=True):
    """The headers of Celery's protocol that ours have; all others are left out."""

    task: _Name
    id: _Id
    lang: str | None = None
    root_id: _Id | None = None
    parent_id: _Id | None = None
    group: _Id | None = None
    group_index: _Count | None = None
    retries: _Count | None = None
    eta: str | None = None
    expires: None = None
    shadow: None = None
    timelimit: tuple[None, None] | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    origin: str | None = None
    ignore_result: bool | None = None
    replaced_task_nesting: _Count | None = None
    redelivered: bool | None = None


class _Signature(Struct, frozen=True):
    """A task that comes after another one, as Celery writes it."""

    task: _Name
    args: list[Any]
    kwargs: dict[str, Any]
    options: dict[str, Any]
    subtask_type: str | None = None
    immutable: bool | None = None


class _After(Struct, frozen=True, forbid_unknown_fields=True):
    """What comes after a task. Ours link nothing to a success or a failure."""

    callbacks: tuple[()] | None = None
    errbacks: tuple[()] | None = None
    chain: list[_Signature] | None = None
    chord: _Signature | None = None


class _Delivery(Struct, frozen=True):
    exchange: str
    routing_key: str


class _Properties(Struct, frozen=True):
    delivery_info: _Delivery
    delivery_tag: str
    priority: int | None = None
    body_encoding: str | None = None


class _Envelope(Struct, frozen=True, rename="kebab"):
    body: str
    headers: dict[str, Any]
    properties: _Properties
    content_type: str | None = None
    content_encoding: str | None = None


def wrong_envelope(message: object) -> str | None:
    """What is wrong with what stood in a list of Redis, if it is no message of kombu's."""
    try:
        msgspec.convert(message, _Envelope)
    except MsgspecError as problem:
        return str(problem)
    return None


def read(message: Received) -> Taken | Refusal:
    """What a message says, if it is one of ours.

    Nothing is decompressed, nothing decoded but JSON, and nothing looked up.
    """
    if message.content_type != "application/json":
        return Refusal(f"it is {_short(message.content_type)}, and only JSON is taken", True)
    encoding = message.content_encoding
    if not isinstance(encoding, str) or encoding.lower() not in PLAIN:
        return Refusal(f"it is encoded as {_short(encoding)}, and only UTF-8 is taken")
    try:
        headers = msgspec.convert(message.headers, _Headers)
    except MsgspecError as problem:
        return Refusal(f"its headers are not those of a call: {problem}", True)
    if headers.eta is not None and not _is_moment(headers.eta):
        return Refusal(f"its eta is no moment: {_short(headers.eta)}")
    body = message.body
    try:
        body = msgspec.json.decode(body if isinstance(body, str) else bytes(body))
    except (MsgspecError, RecursionError, TypeError, UnicodeError):
        return Refusal("its body is no JSON")
    wrong = _wrong_body(headers.task, body)
    if wrong is not None:
        return Refusal(wrong, True)
    return Taken(msgspec.to_builtins(headers), body)


def _wrong_body(task: str, body: object) -> str | None:
    match body:
        case [[now], {"ticket": str(), **others}, after] if not others:
            pass
        case _:
            return "its arguments are not those of a call"
    if not (_are_texts(now) if task in lower.GATHERS else isinstance(now, str)):
        return "its arguments are not those of a call"
    if after is None:
        return None
    try:
        msgspec.convert(after, _After)
    except MsgspecError as problem:
        return f"what comes after it is no call's: {problem}"
    return None


def _are_texts(nows: object) -> bool:
    return isinstance(nows, list) and all(isinstance(now, str) for now in nows)


def _is_moment(text: str) -> bool:
    try:
        moment = datetime.fromisoformat(text)
        return moment.tzinfo is not None and 0 <= moment.timestamp() < _LATEST
    except (OverflowError, ValueError):
        return False


def _short(what: object) -> str:
    return repr(what[:60]) if isinstance(what, str) else f"a {type(what).__name__}"
