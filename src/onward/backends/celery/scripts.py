"""The ledger's Lua scripts. Each one runs atomically in Redis, in one round trip.

All scripts use the server's clock. The keys are:

`onward:<id>`: a hash with the record of a call.
`onward:<id>:at:<path>`: the holder of a step's lease. The key expires with the lease.
`onward:open`: a sorted set of the open calls. The score is the time of a call's last activity, or
    the later time at which it is due; infinity for a call that waits in a queue.
`onward:sent:<route>`: a sorted set of messages that were sent and whose step has not begun. The
    score is the time of sending. A route is a queue at one priority.
`onward:routes`: a set of the routes that have such messages.
`onward:looks`: a hash. `at` is the time of the last search for lost calls, `since` the time since
    which workers have looked without a gap.
"""

from __future__ import annotations

from onward.backends.celery.wait import NOTIFY

OPEN_CALLS = "onward:open"
ROUTES = "onward:routes"
SEARCHES = "onward:looks"
SENT = "onward:sent:"

_AT_ONCE = 1_000
"""How many entries a script handles, so that it does not block Redis for long."""

_COMMON = """
local function clock()
    local at = redis.call('TIME')
    return at[1] .. '.' .. string.format('%06d', at[2])
end

-- Notes activity of a call. A later due time stays, because a step may be retried only then.
local function note_activity(id, at)
    local due = redis.call('ZSCORE', 'onward:open', id)
    if due and (due == 'inf' or tonumber(due) < tonumber(at)) then
        redis.call('ZADD', 'onward:open', at, id)
    end
end

-- Notes that a message has left its queue: from now on its call must show activity.
local function note_received(sent, message)
    if redis.call('ZREM', sent, message) == 0 then return end
    local id = string.match(message, ' (.*)$')
    if not id then return end
    local key = 'onward:' .. id
    if redis.call('EXISTS', key) == 1 then redis.pcall('HINCRBY', key, 'waits', -1) end
    if redis.call('ZSCORE', 'onward:open', id) == 'inf' then
        redis.call('ZADD', 'onward:open', clock(), id)
    end
end
"""

ADD_CALLS = """
local now, added = redis.call('TIME')[1], {}
for index = 2, #KEYS do
    local id, plan, delay = unpack(ARGV, 3 * index - 4, 3 * index - 2)
    added[index - 1] = redis.call('HSETNX', KEYS[index], 'plan', plan)
    if added[index - 1] == 1 then
        redis.call('EXPIRE', KEYS[index], delay + ARGV[1])
        redis.call('ZADD', KEYS[1], now + delay, id)
    end
end
return added
"""

NOTE_SENT = (
    _COMMON
    + """
local now = clock()
for index = 1, #ARGV, 3 do
    local id, message, route = unpack(ARGV, index, index + 2)
    local key = 'onward:' .. id
    if redis.call('EXISTS', key) == 1 then
        local sent = 'onward:sent:' .. route
        -- Each message gets a time of its own, so that their order is known.
        if redis.call('ZADD', sent, now + index / 3e6, message .. ' ' .. id) == 1 then
            redis.pcall('HINCRBY', key, 'waits', 1)
        end
        redis.call('SADD', 'onward:routes', route)
    end
end
"""
)

# A route is in order: when the step of a message begins, all messages that were sent before it have
# been received too.

BEGIN_STEP = (
    _COMMON
    + """
local id, place, holder, lease, message = unpack(ARGV, 1, 5)
local sent = redis.call('ZSCORE', KEYS[4], message)
if sent then
    for _, before in ipairs(redis.call(
        'ZRANGE', KEYS[4], '-inf', '(' .. sent, 'BYSCORE', 'LIMIT', 0, 20
    )) do
        note_received(KEYS[4], before)
    end
    note_received(KEYS[4], message)
end
local known = redis.call('HMGET', KEYS[1], 'end', place)
if known[1] or redis.call('HEXISTS', KEYS[1], 'plan') == 0 then return {0, known[2], 0} end
if known[2] then return {1, known[2], 0} end
local at = redis.call('GET', KEYS[2])
if at and at ~= holder then return {1, false, 1} end
redis.call('SET', KEYS[2], holder, 'PX', lease)
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
note_activity(id, clock())
return {1, false, 0}
"""
)

# The script must not write to a record that has expired: it would be kept forever.

RECORD_OUTCOME = (
    _COMMON
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
note_activity(ARGV[1], clock())
return redis.call('HGET', KEYS[1], ARGV[2])
"""
)

UPDATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
"""

POSTPONE = (
    _COMMON
    + """
if redis.call('GET', KEYS[1]) == ARGV[3] then redis.call('DEL', KEYS[1]) end
note_activity(ARGV[1], clock() + ARGV[2])
"""
)

RENEW_LEASE = (
    _COMMON
    + """
if redis.call('HEXISTS', KEYS[2], 'end') == 1 then return 0 end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then return 1 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
note_activity(ARGV[1], clock())
return 1
"""
)

# If no worker has looked for a while, the ledger may have been away, so that no worker could renew
# its leases. The workers get time for that before any call counts as lost.

TAKE_TURN = (
    _COMMON
    + """
local now, lease = tonumber(clock()), tonumber(ARGV[1])
local at, since = unpack(redis.call('HMGET', KEYS[1], 'at', 'since'))
at, since = tonumber(at or 0), tonumber(since or 0)
if now - at < lease / 4 then return 0 end
if now - at > lease then since = now end
redis.call('HSET', KEYS[1], 'at', now, 'since', since)
redis.call('PEXPIRE', KEYS[1], math.ceil(4000 * lease))
if now - since < lease / 2 then return 0 end
return 1
"""
)

FIND_WAITING_ROUTES = (
    _COMMON
    + """
local found = {}
for _, route in ipairs(redis.call('SMEMBERS', KEYS[1])) do
    local first = redis.call('ZRANGE', 'onward:sent:' .. route, 0, 0, 'WITHSCORES')
    if not first[2] then
        redis.call('SREM', KEYS[1], route)
    elseif tonumber(first[2]) <= clock() - ARGV[1] then
        found[#found + 1] = route
    end
end
return found
"""
)

NOTE_RECEIVED = (
    _COMMON
    + f"""
local found = redis.call(
    'ZRANGE', KEYS[1], '-inf', clock() - ARGV[1], 'BYSCORE', 'LIMIT', 0, {_AT_ONCE}
)
for _, message in ipairs(found) do note_received(KEYS[1], message) end
return #found
"""
)

FIND_LOST = (
    _COMMON
    + f"""
local lost, bad = {{}}, {{}}
local found = redis.call(
    'ZRANGE', KEYS[1], '-inf', clock() - ARGV[1], 'BYSCORE', 'LIMIT', ARGV[2], {_AT_ONCE}
)
for _, id in ipairs(found) do
    local waits = redis.pcall('HGET', 'onward:' .. id, 'waits')
    if type(waits) == 'table' then
        redis.call('ZREM', KEYS[1], id)
        bad[#bad + 1] = id
    elseif (tonumber(waits or 0) or 0) > 0 then
        redis.call('ZADD', KEYS[1], 'inf', id)
    else
        lost[#lost + 1] = id
    end
end
return {{#found, lost, bad}}
"""
)

CLAIM_LOST = (
    _COMMON
    + """
local last, now = redis.call('ZSCORE', KEYS[2], ARGV[1]), clock()
if not last or tonumber(last) > now - ARGV[2] then return 0 end
redis.call('ZADD', KEYS[2], now, ARGV[1])
return redis.call('HINCRBY', KEYS[1], 'revived', 1)
"""
)

SETTLE = """
if redis.call('HEXISTS', KEYS[1], 'plan') == 0 then return 0 end
if redis.call('HSETNX', KEYS[1], 'end', ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'outcome', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[1])
--NOTIFY
return 1
""".replace("--NOTIFY", NOTIFY)
