"""Hands out the places of limits, in memory and without effects.

A backend that keeps its limits in one process uses it, and so does a workflow. It knows no clock:
callers say what time it is, in seconds that only grow.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator

from msgspec import Struct, field

from onward.limit import StepLimit

_SWEPT_AT = 1000


def margin(per: float) -> float:
    """How much longer than a window its places are kept, in seconds.

    An attempt begins a moment after it got its place. Without a margin, the attempts of two windows
    could begin within one.

    Args:
        per: The length of the window, in seconds.
    """
    return min(0.1, per / 10)


class _Request(Struct):
    holder: str
    pool: str
    key: str
    limit: StepLimit


class Saved(Struct, frozen=True, omit_defaults=True):
    """What there is of one pool, for a limiter that goes on elsewhere.

    Args:
        pool: Its name.
        limit: Its limit; None if nothing has asked yet.
        places: Who has a place.
        handed: Who of them has not begun.
        begun: When attempts began.
        waiting: Who waits, by key, in turn.
        over: When the last window of its rate is over.
    """

    pool: str
    limit: StepLimit | None = None
    places: tuple[str, ...] = ()
    handed: tuple[str, ...] = ()
    begun: tuple[float, ...] = ()
    waiting: tuple[tuple[str, tuple[str, ...]], ...] = ()
    over: float = 0.0


class _Pool(Struct):
    """The places that some steps share, and what waits for one."""

    holders: OrderedDict[str, None] = field(default_factory=OrderedDict)
    handed: set[str] = field(default_factory=set)
    """Those who have a place and have not begun: until they do, they count as beginning now."""

    begun: deque[float] = field(default_factory=deque)
    """When attempts began, as far as it matters."""

    waiting: OrderedDict[str, OrderedDict[str, _Request]] = field(default_factory=OrderedDict)
    """What waits, by its key and its holder; the first of the first key is next."""

    window: float = 0.0
    """The longest window of its limits, with its margin."""

    limit: StepLimit | None = None
    """The limit of whoever asked last."""

    @property
    def over(self) -> float:
        """When the window of the last attempt is over."""
        return self.begun[-1] + self.window if self.begun else 0.0

    @property
    def next(self) -> _Request:
        """The request that gets the next place."""
        return next(iter(next(iter(self.waiting.values())).values()))


class Limiter:
    """The places of all limits, who has one, and who waits for one."""

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}
        self._requests: dict[str, _Request] = {}
        self._swept_at = _SWEPT_AT

    @classmethod
    def of(cls, saved: Saved) -> Limiter:
        """A limiter that goes on with one pool."""
        limiter = cls()
        if saved.limit is None:
            return limiter
        requests = limiter._requests
        for key, holders in (("", saved.places), *saved.waiting):
            for holder in holders:
                requests[holder] = _Request(holder, saved.pool, key, saved.limit)
        limiter._pools[saved.pool] = _Pool(
            OrderedDict.fromkeys(saved.places),
            set(saved.handed),
            deque(saved.begun),
            OrderedDict(
                (key, OrderedDict((holder, requests[holder]) for holder in holders))
                for key, holders in saved.waiting
            ),
            saved.limit.per + margin(saved.limit.per) if saved.limit.rate is not None else 0.0,
            saved.limit,
        )
        return limiter

    def extent(self, name: str) -> tuple[bool, bool, float]:
        """Whether anything waits in a pool and has a place of it, and when its window is over."""
        pool = self._pools.get(name)
        if pool is None:
            return False, False, 0.0
        return bool(pool.waiting), bool(pool.holders), pool.over

    def saved(self, name: str) -> Saved:
        """What there is of a pool."""
        pool = self._pools.get(name)
        if pool is None:
            return Saved(name)
        return Saved(
            name,
            pool.limit,
            tuple(pool.holders),
            tuple(sorted(pool.handed)),
            tuple(pool.begun),
            tuple((key, tuple(holders)) for key, holders in pool.waiting.items()),
            pool.over,
        )

    def request(self, holder: str, limit: StepLimit, key: str, now: float) -> str:
        """Asks for a place; a holder that has asked before is asked for once.

        Args:
            holder: Who wants it, by a name of its own.
            limit: The limit.
            key: The limit's key; empty without one.
            now: The time.

        Returns:
            The name of the pool, which `hand_out` takes.
        """
        pool = limit.pool(key)
        if holder not in self._requests:
            if len(self._pools) >= self._swept_at:
                self._sweep(now)
            request = self._requests[holder] = _Request(holder, pool, key, limit)
            shared = self._pools.setdefault(pool, _Pool())
            shared.waiting.setdefault(key, OrderedDict())[holder] = request
            shared.limit = limit
            if limit.rate is not None:
                shared.window = max(shared.window, limit.per + margin(limit.per))
        return pool

    def hand_out(self, pool: str, now: float) -> list[str]:
        """Hands out what is free of a pool; gives those who got a place, in order."""
        found = self._pools.get(pool)
        return [] if found is None else list(_handed(found, now))

    def begin(self, holder: str, now: float) -> None:
        """Notes that who has a place begins now; the last time counts too, if it began before."""
        request = self._requests[holder]
        if request.limit.rate is not None:
            pool = self._pools[request.pool]
            pool.handed.discard(holder)
            pool.begun.append(now)

    def has_place(self, holder: str) -> bool:
        """Whether a holder has a place."""
        request = self._requests.get(holder)
        return request is not None and holder in self._pools[request.pool].holders

    def leave(self, holder: str) -> str | None:
        """Gives a place back, or waits for it no longer.

        Returns:
            The name of the pool, which `hand_out` takes; None if the holder is unknown.
        """
        request = self._requests.pop(holder, None)
        if request is None:
            return None
        pool = self._pools[request.pool]
        pool.holders.pop(holder, None)
        pool.handed.discard(holder)  # it never began
        queue = pool.waiting.get(request.key)
        if queue is not None and queue.pop(holder, None) is not None and not queue:
            del pool.waiting[request.key]
        return request.pool

    def opens_at(self, pool: str, now: float) -> float | None:
        """When a pool has a place for what waits, if it only needs time; None if it needs more."""
        found = self._pools.get(pool)
        if found is None or not found.waiting:
            return None
        first = found.next.limit
        if not _has_room(found, first) or first.rate is None or len(found.handed) >= first.rate:
            return None
        _forget(found, first, now)
        free = first.rate - len(found.handed) - len(found.begun)
        return now if free > 0 else found.begun[-free] + first.per + margin(first.per)

    def _sweep(self, now: float) -> None:
        """Forgets the pools that nothing holds, and whose last window is over."""
        for name, pool in list(self._pools.items()):
            if pool.over <= now and not pool.holders and not pool.waiting:
                del self._pools[name]
        self._swept_at = max(_SWEPT_AT, 2 * len(self._pools))


def _handed(pool: _Pool, now: float) -> Iterator[str]:
    while pool.waiting:
        request = pool.next
        limit = request.limit
        if not _has_room(pool, limit):
            return
        if limit.rate is not None:
            _forget(pool, limit, now)
            if len(pool.begun) + len(pool.handed) >= limit.rate:
                return
            pool.handed.add(request.holder)
        queue = pool.waiting.pop(request.key)
        del queue[request.holder]
        if queue:
            pool.waiting[request.key] = queue  # the other keys come first
        pool.holders[request.holder] = None
        yield request.holder


def _has_room(pool: _Pool, limit: StepLimit) -> bool:
    return limit.concurrency is None or len(pool.holders) < limit.concurrency


def _forget(pool: _Pool, limit: StepLimit, now: float) -> None:
    """Forgets the attempts that began before the window that ends now."""
    while pool.begun and pool.begun[0] + limit.per + margin(limit.per) <= now:
        pool.begun.popleft()
