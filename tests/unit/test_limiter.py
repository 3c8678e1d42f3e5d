"""The limiter hands out what a limit allows, in turn, and forgets nothing on the way."""

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from onward.backend.limiter import Limiter, Saved, margin
from onward.limit import StepLimit

AT_ONCE, RATE, PER = 2, 3, 10.0
LIMIT = StepLimit("limit", AT_ONCE, RATE, PER, keyed=True, fair=True)


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in which order, the limit holds."""

    def __init__(self) -> None:
        super().__init__()
        self.limiter = Limiter()
        self.now = 0.0
        self.asked = 0
        self.waiting: set[str] = set()
        self.placed: set[str] = set()
        self.began: list[float] = []

    @rule(key=st.sampled_from("abc"))
    def ask(self, key: str) -> None:
        self.asked += 1
        holder = f"{key}{self.asked}"
        assert self.limiter.request(holder, LIMIT, key, self.now) == "limit"
        self.waiting.add(holder)
        self.hand_out()

    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        ready = sorted(self.placed - {""})
        if ready:
            holder = data.draw(st.sampled_from(ready))
            self.limiter.begin(holder, self.now)
            self.began.append(self.now)
            self.leave_as(holder)

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        known = sorted(self.waiting | self.placed)
        if known:
            self.leave_as(data.draw(st.sampled_from(known)))

    @rule(seconds=st.floats(0, 2 * PER))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.hand_out()

    @rule()
    def go_on_elsewhere(self) -> None:
        raw = msgspec.json.encode(self.limiter.saved("limit"))
        self.limiter = Limiter.of(msgspec.json.decode(raw, type=Saved))
        self.hand_out()

    def leave_as(self, holder: str) -> None:
        self.limiter.leave(holder)
        self.waiting.discard(holder)
        self.placed.discard(holder)
        self.hand_out()

    def hand_out(self) -> None:
        for holder in self.limiter.hand_out("limit", self.now):
            assert holder in self.waiting
            self.waiting.discard(holder)
            self.placed.add(holder)

    @invariant()
    def no_more_than_the_limit(self) -> None:
        assert len(self.placed) <= AT_ONCE
        for first, later in zip(self.began, self.began[RATE:], strict=False):
            assert later - first >= PER

    @invariant()
    def nothing_waits_in_vain(self) -> None:
        if self.waiting and not self.placed:
            opens = self.limiter.opens_at("limit", self.now)
            assert opens is not None
            assert self.now < opens <= self.now + PER + margin(PER)


TestAnyOrder = AnyOrder.TestCase


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_a_fair_limit_serves_the_keys_in_turn(keys: list[str]) -> None:
    limit = StepLimit("limit", 1, keyed=True, fair=True)
    limiter = Limiter()
    for number, key in enumerate(keys):
        limiter.request(f"{key}{number}", limit, key, 0.0)
    order: list[str] = []
    for _ in keys:
        [holder] = limiter.hand_out("limit", 0.0)
        order.append(holder[0])
        limiter.leave(holder)
    left = Counter(keys)
    while order:  # in each round, each key that has some left has its turn
        turn, order = order[: len(left)], order[len(left) :]
        assert set(turn) == set(left)
        left = Counter({key: count - 1 for key, count in left.items() if count > 1})


def test_a_limiter_forgets_the_pools_that_nobody_needs() -> None:
    limit = StepLimit("limit", rate=1, per=1.0, keyed=True)
    limiter = Limiter()
    for number in range(5000):
        now = float(number)
        pool = limiter.request(str(number), limit, str(number), now)
        assert limiter.hand_out(pool, now) == [str(number)]
        limiter.begin(str(number), now)
        limiter.leave(str(number))
    assert len(limiter._pools) <= 1000
