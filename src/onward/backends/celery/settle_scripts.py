"""The Lua scripts that end calls. `scripts` describes the keys."""

from __future__ import annotations

from onward.backends.celery.limit_scripts import LIMITS
from onward.backends.celery.log_scripts import LOG
from onward.backends.celery.packed import PACKING
from onward.backends.celery.scripts import COMMON
from onward.backends.celery.step_scripts import ACKNOWLEDGING
from onward.backends.celery.wait import NOTIFY

ADVANCE = """
local function is_open(id)
    local key = 'onward:' .. (id or '')
    return id and redis.call('HEXISTS', key, 'plan') == 1 and redis.call('HEXISTS', key, 'end') == 0
end

-- Forgets the calls of a key that have ended, and lets the next one become the first.
-- Returns both.
local function advance(slot)
    local first, following, due = unpack(redis.call('HMGET', slot, 'first', 'next', 'due'))
    if following and not is_open(following) then
        redis.call('HDEL', slot, 'next', 'due')
        following = false
    end
    if is_open(first) then return first, following end
    if not following then
        redis.call('DEL', slot)
        return false, false
    end
    redis.call('HSET', slot, 'first', following)
    redis.call('HDEL', slot, 'next', 'due')
    redis.call('ZADD', 'onward:open', due, following)
    add_due(' ' .. following, due)
    return following, false
end
"""

SETTLES = (
    ADVANCE
    + LIMITS
    + """
-- Ends a call, if it has no end. The arguments are its id, end, outcome, and how long it is kept.
local function settle(fault)
    if redis.call('HSETNX', KEYS[1], 'end', ARGV[2]) == 0 then return 0 end
    -- Redis stores a number in fewer bytes than a text.
    local ended = string.gsub(clock(), '%.', '') .. (fault == '' and '' or ' ' .. fault)
    redis.call('HSET', KEYS[1], 'outcome', ARGV[3], 'ended', ended)
    redis.call('EXPIRE', KEYS[1], ARGV[4])
    redis.call('EXPIRE', KEYS[1] .. ':signals', ARGV[4])
    redis.call('ZREM', KEYS[2], ARGV[1])
    local submitted = ARGV[2] ~= 'done' and redis.call('ZSCORE', 'onward:calls', ARGV[1])
    if submitted then
        redis.call('ZADD', 'onward:calls:' .. ARGV[2], submitted, ARGV[1])
        if fault == 'Lost' then redis.call('ZADD', 'onward:calls:lost', submitted, ARGV[1]) end
    end
    for _, at in ipairs(redis.call('HKEYS', KEYS[1] .. ':held')) do
        redis.call('ZREM', 'onward:due', at .. ' ' .. ARGV[1])
    end
    redis.call('ZREM', 'onward:due', ' ' .. ARGV[1], '! ' .. ARGV[1])
    redis.call('DEL', KEYS[1] .. ':held')
    local slot, limits = unpack(redis.call('HMGET', KEYS[1], 'slot', 'limits'))
    if slot then advance('onward:unique:' .. slot) end
    if limits then leave_all(ARGV[1]) end
    --NOTIFY
    return 1
end
""".replace("--NOTIFY", NOTIFY)
)

# A call that is cancelling ends as was decided then, whatever comes of its last step.

SETTLE = (
    COMMON
    + SETTLES
    + LOG
    + ACKNOWLEDGING
    + PACKING
    + """
local is_last, fault, at, holder, tag = unpack(ARGV, 5)
if redis.call('HEXISTS', KEYS[1], 'plan') == 0 then return 0 end
local decided = false
if is_last == '1' then
    local known = redis.call('HMGET', KEYS[1], 'ends', 'cancelling')
    if known[2] then
        decided, ARGV[2], ARGV[3] = true, known[1], known[2]
        fault = ({cancelled = 'Cancelled', expired = 'Expired'})[ARGV[2]] or ''
    end
end
if settle(fault) == 0 then return 0 end
if at ~= '' and not decided then
    log_ended(KEYS[1], at, holder, '=', true)
    if redis.call('GET', KEYS[3]) == holder then redis.call('DEL', KEYS[3]) end
    acknowledge(tag)
end
pack(KEYS[1], ARGV[1], ARGV[4])
return decided and 0 or 1
"""
)
