"""The Lua scripts about cleanups. `scripts` describes the keys."""

from __future__ import annotations

from onward.backends.celery.scripts import COMMON, IN_CLEANUP
from onward.backends.celery.settle_scripts import SETTLES

BEGIN = (
    COMMON
    + """
local id, at = unpack(ARGV)
local place = 'f:' .. at
local known = redis.call('HMGET', KEYS[1], 'end', 'plan', 'cancelling', place)
if known[1] or not known[2] then return 'ended' end
if known[3] and not known[4] then return 'cancelled' end
redis.call('HSET', KEYS[1], place, '', 'cleanups', '')
note_activity(id, clock())
return 'begun'
"""
)

# A call without cleanups ends at once, and so does one that goes on elsewhere, unless it is
# cancelling. The messages that the ledger holds outside of cleanups are
# dropped, because the call is sent again.

END_EARLY = (
    COMMON
    + IN_CLEANUP
    + SETTLES
    + """
local id, ends, outcome, keep, fault, at_once = unpack(ARGV)
local known = redis.call('HMGET', KEYS[1], 'end', 'plan', 'cancelling', 'cleanups')
if known[1] or not known[2] or known[3] then return 0 end
if at_once == '1' or not known[4] then
    settle(fault)
    return 0
end
redis.call('HSET', KEYS[1], 'cancelling', outcome, 'ends', ends)
redis.call('HDEL', KEYS[1], 'quiet', 'checks', 'revived')
for _, at in ipairs(redis.call('HKEYS', KEYS[1] .. ':held')) do
    if not in_cleanup(at) then
        redis.call('HDEL', KEYS[1] .. ':held', at)
        redis.call('ZREM', 'onward:due', at .. ' ' .. id)
    end
end
redis.call('ZREM', 'onward:due', '! ' .. id)
redis.call('ZADD', KEYS[2], 'XX', clock(), id)
return 1
"""
)
