"""The ledger finds calls that have ended, and keeps nothing of calls that it has deleted."""

from msgspec import Raw

from onward.backends.celery.ledger import Message, NewCall
from onward.backends.celery.memory_ledger import MemoryLedger
from onward.backends.celery.redis_ledger import RedisLedger
from onward.outcome import Value
from tests.engines.valkey import Valkey


def test_a_wait_for_very_many_calls_finds_the_last_one(valkey: Valkey) -> None:
    ledger = RedisLedger(valkey.url, keep=60, lease=60)
    ids = [f"many-{number}" for number in range(2_500)]
    ledger.add([NewCall(id, b"{}") for id in ids])
    assert ledger.wait(ids, 0.1) == {}
    done = Value(Raw(b"1"))
    ledger.settle(ids[-1], done, "done")
    assert ledger.wait(ids, 0) == {ids[-1]: done}
    assert ledger.wait([*ids, "unknown"], 0) == {ids[-1]: done, "unknown": None}
    ledger.close()


def test_a_ledger_in_memory_does_not_bring_deleted_calls_back() -> None:
    ledger = MemoryLedger(keep=0)
    ledger.add([NewCall("a", b"{}"), NewCall("b", b"{}")])
    ledger.settle("a", Value(Raw(b"1")), "done")
    ledger.delete(["b"])
    for id in ("a", "b"):
        ledger.read(id)
        ledger.update(id, task="inc")  # as a worker does that still runs a step of it
        assert not ledger.begin_step(Message(id, "m", "q", 4), "0", "me").is_open
        assert ledger.read(id) is None
        assert ledger.wait([id], 0) == {id: None}
