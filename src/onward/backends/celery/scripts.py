"""What the ledger does in Redis. A script is one round trip, of which nobody sees a half.

All of them go by the server's clock. The keys are:

`onward:<id>`: a hash, with what is known of a call.
`onward:<id>:at:<place>`: whose a step is, for as long as its lease lasts.
`onward:open`: the open calls, by when they were last heard of, or are next due; by infinity those
    that nobody looks for, as they wait in a queue.
`onward:sent:<route>`: the messages that were sent and have not been begun, by when they were sent.
`onward:routes`: the routes that have such messages. A route is a queue at one priority.
`onward:looks`: when somebody last looked for lost calls, and since when there were no gaps.
"""

from __future__ import annotations

from onward.backends.celery.wait import TO_NOTIFY

OPEN = "onward:open"
ROUTES = "onward:routes"
LOOKS = "onward:looks"
SENT = "onward:sent:"

_AT_ONCE = 1_000
"""How many entries a script looks at, so that Redis has time for others in between."""

_COMMON = """
local function clock()
    local at = redis.call('TIME')
    return at[1] .. '.' .. string.format('%06d', at[2])
end

-- When a call is next to be heard of never comes nearer: a step of it may be put off until then.
local function heard(id, at)
    local due = redis.call('ZSCORE', 'onward:open', id)
    if due and (due == 'inf' or tonumber(due) < tonumber(at)) then
        redis.call('ZADD', 'onward:open', at, id)
    end
end

-- A message is in its queue no more: from now on, something must be heard of its call.
local function taken(sent, message)
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

TO_OPEN = """
local now, opened = redis.call('TIME')[1], {}
for index = 2, #KEYS do
    local id, plan, delay = unpack(ARGV, 3 * index - 4, 3 * index - 2)
    opened[index - 1] = redis.call('HSETNX', KEYS[index], 'plan', plan)
    if opened[index - 1] == 1 then
        redis.call('EXPIRE', KEYS[index], delay + ARGV[1])
        redis.call('ZADD', KEYS[1], now + delay, id)
    end
end
return opened
"""

TO_NOTE_SENT = (
    _COMMON
    + """
local now = clock()
for index = 1, #ARGV, 3 do
    local id, message, route = unpack(ARGV, index, index + 2)
    local key = 'onward:' .. id
    if redis.call('EXISTS', key) == 1 then
        local sent = 'onward:sent:' .. route
        -- Each at a moment of its own, or which of them was taken out first would not be known.
        if redis.call('ZADD', sent, now + index / 3e6, message .. ' ' .. id) == 1 then
            redis.pcall('HINCRBY', key, 'waits', 1)
        end
        redis.call('SADD', 'onward:routes', route)
    end
end
"""
)

# A queue is in order, and so is what is known to be in it: whoever begins a message knows that all
# that was sent there before it was taken out as well.

TO_BEGIN = (
    _COMMON
    + """
local id, place, holder, lease, message = unpack(ARGV, 1, 5)
local sent = redis.call('ZSCORE', KEYS[4], message)
if sent then
    for _, before in ipairs(redis.call(
        'ZRANGE', KEYS[4], '-inf', '(' .. sent, 'BYSCORE', 'LIMIT', 0, 20
    )) do
        taken(KEYS[4], before)
    end
    taken(KEYS[4], message)
end
local known = redis.call('HMGET', KEYS[1], 'end', place)
if known[1] or redis.call('HEXISTS', KEYS[1], 'plan') == 0 then return {0, known[2], 0} end
if known[2] then return {1, known[2], 0} end
local at = redis.call('GET', KEYS[2])
if at and at ~= holder then return {1, false, 1} end
redis.call('SET', KEYS[2], holder, 'PX', lease)
redis.call('HSET', KEYS[1], unpack(ARGV, 6))
heard(id, clock())
return {1, false, 0}
"""
)

# What is kept no longer must not come back, for it would then be there for ever.

TO_RECORD = (
    _COMMON
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSETNX', KEYS[1], ARGV[2], ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[4] then redis.call('DEL', KEYS[2]) end
heard(ARGV[1], clock())
return redis.call('HGET', KEYS[1], ARGV[2])
"""
)

TO_NOTE = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
"""

TO_PUT_OFF = (
    _COMMON
    + """
if redis.call('GET', KEYS[1]) == ARGV[3] then redis.call('DEL', KEYS[1]) end
heard(ARGV[1], clock() + ARGV[2])
"""
)

TO_RENEW = (
    _COMMON
    + """
if redis.call('HEXISTS', KEYS[2], 'end') == 1 then return 0 end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then return 1 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
heard(ARGV[1], clock())
return 1
"""
)

# Where nobody has looked for a while, the ledger may have been away, and nobody could say anything:
# then all workers have time to, before anything is taken for lost.

TO_TAKE_TURN = (
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

TO_FIND_ROUTES = (
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

TO_NOTE_TAKEN = (
    _COMMON
    + f"""
local found = redis.call(
    'ZRANGE', KEYS[1], '-inf', clock() - ARGV[1], 'BYSCORE', 'LIMIT', 0, {_AT_ONCE}
)
for _, message in ipairs(found) do taken(KEYS[1], message) end
return #found
"""
)

TO_FIND_SILENT = (
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

TO_REVIVE = (
    _COMMON
    + """
local last, now = redis.call('ZSCORE', KEYS[2], ARGV[1]), clock()
if not last or tonumber(last) > now - ARGV[2] then return 0 end
redis.call('ZADD', KEYS[2], now, ARGV[1])
return redis.call('HINCRBY', KEYS[1], 'revived', 1)
"""
)

TO_SETTLE = """
if redis.call('HEXISTS', KEYS[1], 'plan') == 0 then return 0 end
if redis.call('HSETNX', KEYS[1], 'end', ARGV[2]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'outcome', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('ZREM', KEYS[2], ARGV[1])
--TELL
return 1
""".replace("--TELL", TO_NOTIFY)
