"""Secrets: what they are, how they travel, and that nothing shows them."""

from __future__ import annotations

import asyncio
import copy
import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import pydantic
import pytest
from hypothesis import given as when
from hypothesis import strategies as st
from msgspec import Raw, Struct
from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretBytes, SecretStr
from returns.result import Failure, Result, Success

from onward import BadPayload, Secret, aio, given, local, run, submit, task
from onward.backends.local import Local
from onward.cli.shown import data_of
from onward.codec import codec
from onward.outcome import Value
from onward.plan import encode
from onward.sealing import Sealer, sealing
from onward.secret import MARK, SEALED, masked

MARKER = "hunter2-5f0c"


class Inner(BaseModel):
    token: SecretStr


class Model(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    password: SecretStr = Field(alias="pass")
    others: dict[str, list[SecretStr]] = {}
    born: pydantic.Secret[date] | None = None
    raw: SecretBytes = SecretBytes(b"")
    ours: Secret[int] = Secret(0)
    inner: Inner | None = None
    hidden: str = "plain"


class Root(RootModel[list[SecretStr]]):
    pass


@dataclass(frozen=True)
class Record:
    one: Secret[list[int]]
    two: SecretStr | None = None


class Packed(Struct, frozen=True):
    one: dict[str, Secret[bytes]]


VALUES: list[tuple[Any, Any]] = [
    (Secret[str], Secret(MARKER)),
    (Secret[bytes], Secret(MARKER.encode() + b"\xff")),
    (Secret[dict[str, date]], Secret({MARKER: date(2020, 1, 1)})),
    (Secret[Record], Secret(Record(Secret([1]), SecretStr(MARKER)))),
    (Secret[str] | None, Secret(MARKER)),
    (Secret[str] | None, None),
    (list[Secret[str]], [Secret(MARKER), Secret("")]),
    (SecretStr, SecretStr(MARKER)),
    (SecretBytes, SecretBytes(MARKER.encode() + b"\xff")),
    (pydantic.Secret[date], pydantic.Secret[date](date(2020, 1, 1))),
    (Record, Record(Secret([1, 2]), SecretStr(MARKER))),
    (Packed, Packed({"a": Secret(MARKER.encode())})),
    (
        Model,
        Model(
            password=SecretStr(MARKER),  # type: ignore[call-arg]  # by its name, which is allowed
            others={"a": [SecretStr(MARKER), SecretStr("b")]},
            born=pydantic.Secret[date](date(2020, 1, 1)),
            raw=SecretBytes(MARKER.encode()),
            ours=Secret(7),
            inner=Inner(token=SecretStr(MARKER)),
        ),
    ),
    (Root, Root([SecretStr(MARKER)])),
]


class Strict(BaseModel):
    user: int
    password: SecretStr

    @pydantic.model_validator(mode="before")
    @classmethod
    def never(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("user") == 3:
            raise ValueError("3 may not log in")
        return value


@task
def strict(model: Strict) -> Strict:
    return model


@pytest.fixture
def backend() -> Any:
    backend = local()
    yield backend
    backend.close()


@task
def login(user: str, password: Secret[str]) -> str:
    return f"{user} {password}"


@pytest.mark.parametrize(("annotation", "value"), VALUES, ids=str)
def test_a_secret_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    of = codec(annotation)
    raw = of.encode(value)
    assert of.decode(raw) == value
    assert MARKER not in f"{value} {value!r}"
    assert MARKER.encode() not in masked(raw)


def test_a_secret_is_a_frozen_value() -> None:
    secret = Secret(MARKER)
    assert secret == Secret(MARKER)
    assert secret != Secret("other")
    assert secret != MARKER
    assert hash(secret) == hash(Secret(MARKER))
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    make, arguments = secret.__reduce__()
    assert make(*arguments) == secret
    for name in ("_value", "other"):
        with pytest.raises(AttributeError, match="frozen"):
            setattr(secret, name, "x")
    with pytest.raises(AttributeError, match="frozen"):
        del secret._value
    texts = (str(secret), repr(secret), f"{secret:>5}", f"{secret!r}", "%s" % secret)  # noqa: UP031
    assert texts == ("***", "Secret('***')", "  ***", "Secret('***')", "***")
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_what_a_secret_keeps_is_checked_and_not_quoted(backend: Local) -> None:
    wrong: Any = login
    for bad in (wrong("ann", Secret(17)), wrong("ann", MARKER), wrong("ann", SecretStr(MARKER))):
        fault = run(bad, on=backend).failure()
        assert isinstance(fault, BadPayload)
        assert fault.path == "$.password"
        assert MARKER not in f"{bad} {fault!r} {fault}"


def test_a_value_that_was_sent_before_it_was_a_secret_is_taken() -> None:
    assert codec(Secret[str]).decode(b'"x"') == Secret("x")


def test_a_model_that_refuses_its_input_does_not_quote_it(backend: Local) -> None:
    for user in (3, "three"):
        model = Strict.model_construct(user=user, password=SecretStr(MARKER))
        fault = run(strict(model), on=backend).failure()
        assert isinstance(fault, BadPayload)
        assert MARKER not in f"{fault!r} {fault}"
        assert "3 may not log in" in fault.message or "user" in f"{fault.path} {fault.message}"


def test_the_values_of_given_are_no_part_of_a_name_and_secrets_none_of_an_id() -> None:
    one, other = given(login, Secret(MARKER)), given(login, Secret("rotated"))
    assert one.name == other.name == "given(login, ...)"
    assert one != other
    backend = local()
    refs = {submit(flow("ann"), on=backend, key="k").unwrap().id for flow in (one, other)}
    assert len(refs) == 1
    backend.close()


def test_what_the_command_line_prints_as_json_has_no_secret() -> None:
    raw = Raw(codec(list[Secret[str]]).encode([Secret(MARKER)]))
    assert data_of(Value(raw))["value"] == Raw(b'["***"]')


NAMES = st.text() | st.sampled_from([MARK, SEALED])


@when(
    st.recursive(
        st.text() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    )
)
def test_sealing_changes_no_other_value(value: Any) -> None:
    pytest.importorskip("cryptography")
    sealer = Sealer([b"k" * 32, b"o" * 32])
    raw = Raw(json.dumps(value).encode())
    assert json.loads(bytes(sealer.opened(sealer.sealed(raw)))) == value


def test_what_is_sealed_is_opened_by_any_of_the_keys_and_by_no_other() -> None:
    pytest.importorskip("cryptography")
    old, new, other = b"o" * 32, b"n" * 32, b"x" * 32
    raw = Raw(codec(Secret[str]).encode(Secret(MARKER)))
    sealed = Sealer([old]).sealed(raw)
    assert MARKER.encode() not in bytes(sealed)
    assert bytes(Sealer([new, old]).opened(sealed)) == bytes(raw)
    assert bytes(Sealer([other]).opened(sealed)) == bytes(sealed)
    with pytest.raises(ValueError, match="ONWARD_SECRET_KEYS"):
        codec(Secret[str]).decode(sealed)


def test_keys_are_checked_and_not_shown() -> None:
    short = b"hunter2"
    for keys, kind in (([short], ValueError), ([], ValueError), (["k" * 32], TypeError)):
        with pytest.raises(kind) as refused:
            sealing(local(), keys)  # type: ignore[arg-type]  # on purpose
        assert "hunter2" not in str(refused.value)
    assert repr(Sealer([b"k" * 32])) == "Sealer(1 key)"
    with pytest.raises(TypeError, match="cannot be copied"):
        copy.copy(Sealer([b"k" * 32]))


def test_secrets_are_sealed_in_all_that_goes_out() -> None:
    pytest.importorskip("cryptography")
    sent: list[Any] = []

    class Wire(Local):
        def submit(self, submission: Any, /) -> Any:
            sent.append(submission)
            return super().submit(submission)

    plain = local()
    plain.__class__ = Wire
    backend = sealing(plain, [b"k" * 32])
    flow = (given(login, Secret(MARKER)) >> given(login, Secret(MARKER))).named("twice")
    assert run(flow("ann"), on=backend, key="k") == Success("ann *** ***")
    [submission] = sent
    assert MARKER.encode() not in encode(submission.plan)
    assert SEALED.encode() in encode(submission.plan)
    backend.close()


def test_who_awaits_seals_too() -> None:
    pytest.importorskip("cryptography")

    @task
    def denied(password: Secret[str]) -> Result[int, Record]:
        return Failure(Record(Secret([1]), SecretStr(password.get_secret_value())))

    backend = sealing(local(), [b"k" * 32])
    call = denied(Secret(MARKER))
    expected = Failure(Record(Secret([1]), SecretStr(MARKER)))
    assert asyncio.run(aio.run(call, on=backend)) == expected
    assert asyncio.run(aio.run(call, on=backend, key="k")) == expected

    async def all_of_them() -> list[Any]:
        refs = (await aio.submit_all([call, call], on=backend)).unwrap()
        return [each async for _, each in aio.results(refs, on=backend)]

    assert asyncio.run(all_of_them()) == [expected, expected]
    backend.close()
