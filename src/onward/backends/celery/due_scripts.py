"""The Lua scripts about what is due later. `scripts` describes the keys."""

from __future__ import annotations

from onward.backends.celery.limit_scripts import LIMITS
from onward.backends.celery.log_scripts import LOG
from onward.backends.celery.scripts import COMMON, IN_CLEANUP, NOTE_BEGUN

WAKE = "onward:wake"
"""The list that wakes up a worker."""

WAKE_UP = COMMON + "wake_up()"

AT_ONCE = 100
BYTES_AT_ONCE = 4_000_000
"""How many entries, and how many bytes of messages, a worker claims at once."""

LONGEST_OPEN = 30 * 24 * 3600
"""How long a call without an outcome is kept after it was due, in seconds."""

HOLDING = (
    COMMON
    + f"""
-- Keeps the keys of a call for so many seconds at least; without limit if they are infinite.
local function keep(id, seconds)
    local key = 'onward:' .. id
    local left = redis.call('TTL', key)
    local unique = 'onward:unique:' .. (redis.call('HGET', key, 'slot') or '')
    for _, each in ipairs({{key, key .. ':held', key .. ':signals', unique}}) do
        if seconds == 'inf' or left == -1 then
            redis.call('PERSIST', each)
        else
            redis.call('EXPIRE', each, math.max(left, math.ceil(seconds)))
        end
    end
end

-- When the signature of a plan expires.
local function plan_until(signed)
    return tonumber(string.match(string.sub(signed or '', 65, 90), '^%d+') or 0)
end

-- Holds a message until it is due.
local function hold(id, at, due, message, is_top, deadline, plan)
    local key = 'onward:' .. id
    redis.call('HSET', key .. ':held', at, message)
    if plan_until(plan) > plan_until(redis.call('HGET', key, 'plan')) then
        redis.call('HSET', key, 'plan', plan)
    end
    if due ~= 'inf' then add_due(at .. ' ' .. id, due) end
    if deadline ~= '' then add_due('! ' .. id, deadline) end
    keep(id, due == 'inf' and 'inf' or due - clock() + {LONGEST_OPEN})
    redis.call('HDEL', key, 'revived')
    if is_top == '1' then
        redis.call('HSET', key, 'quiet', 1)
        redis.call('ZADD', 'onward:open', 'XX', 'inf', id)
    else
        note_progress(id, clock())
    end
end
"""
)

HOLD_RETRY = (
    HOLDING
    + LOG
    + """
local id, at, seconds, message, is_top, deadline, plan, holder, attempt, failed, outcome =
    unpack(ARGV)
if redis.call('GET', KEYS[2]) == holder then redis.call('DEL', KEYS[2]) end
if redis.call('HEXISTS', KEYS[1], 'end') == 1 or redis.call('HEXISTS', KEYS[1], 'plan') == 0 then
    return
end
redis.call('HSET', KEYS[1], 'r:' .. at, attempt)
log_failed(KEYS[1], at, holder, clock(), failed, outcome)
redis.call('HDEL', KEYS[1], 'b:' .. at)
hold(id, at, clock() + seconds, message, is_top, deadline, plan)
"""
)

# The field `w:<path>` of a call's record says how a wait stands: its due time and its signal,
# `over` if its time has passed, or `got` if its signal has come.

WAIT = (
    HOLDING
    + NOTE_BEGUN
    + IN_CLEANUP
    + LOG
    + """
local id, at, seconds, message, is_top, deadline, plan, signal, received = unpack(ARGV)
note_begun(KEYS[2], received)
local key, place = KEYS[1], 'w:' .. at
local known = redis.call('HMGET', key, 'end', 'plan', place, 'cancelling', 'o:' .. at, 'd:' .. at)
local wait, now = known[3] or '', clock()
if known[1] or not known[2] then return {'ended'} end
if known[5] then return {'known', known[5]} end
local due = string.match(wait, '^(%S+) ') or known[6]
if not due and seconds == 'inf' then due = 'inf' end
if not due then due = string.format('%.6f', now + seconds) end

local function begin()
    if wait == '' then log_begun(key, at, '~ ' .. due .. ' ' .. stamp(now)) end
end

local function decide(how)
    begin()
    redis.call('HSET', key, place, how)
    log_ended(key, at, '~', stamp(now), true)
    note_activity(id, now)
end

local value = wait ~= 'over' and signal ~= '' and redis.call('HGET', key .. ':signals', signal)
if value then
    decide('got')
    return {'signal', value}
end
if wait == 'over' or (due ~= 'inf' and tonumber(due) <= tonumber(now)) then
    decide('over')
    return {'over'}
end
if known[4] and not in_cleanup(at) then return {'ended'} end
if wait ~= '' and redis.call('HEXISTS', key .. ':held', at) == 1 then return {'held'} end
if message == '' then
    return {'hold', due == 'inf' and due or string.format('%.6f', due - now)}
end
begin()
redis.call('HSET', key, place, due .. ' ' .. signal)
hold(id, at, due, message, is_top, deadline, plan)
return {'held'}
"""
)

SEND = (
    COMMON
    + """
local id, signal, value = unpack(ARGV)
local known = redis.call('HMGET', KEYS[1], 'end', 'plan')
if not known[2] then return {'unknown'} end
if known[1] then return {'ended'} end
if redis.call('HSETNX', KEYS[2], signal, value) == 0 then
    return {'again', redis.call('HGET', KEYS[2], signal)}
end
local left = redis.call('PTTL', KEYS[1])
if left > 0 then redis.call('PEXPIRE', KEYS[2], left) end
local now = clock()
for _, at in ipairs(redis.call('HKEYS', KEYS[1] .. ':held')) do
    local wait = redis.call('HGET', KEYS[1], 'w:' .. at) or ''
    if string.match(wait, '^%S+ (.*)$') == signal then add_due(at .. ' ' .. id, now) end
end
return {'sent'}
"""
)

# A step whose lease is there runs already, and `BEGIN_STEP` says so.

ASK = (
    HOLDING
    + NOTE_BEGUN
    + LIMITS
    + """
local id, at, _, message, is_top, deadline, plan, received = unpack(ARGV, 1, 8)
local name, pool, key, most, rate, window, lease = unpack(ARGV, 9)
note_begun(KEYS[2], received)
local base, member = 'onward:limit:' .. pool, at .. ' ' .. id
if not is_wanted(at, id) or redis.call('HEXISTS', KEYS[1], 'o:' .. at) == 1 then return 'pass' end
local has_place = redis.call('ZSCORE', base .. ':places', member)
if redis.call('EXISTS', KEYS[3]) == 1 and
    (not has_place or redis.call('SISMEMBER', base .. ':ready', member) == 1) then
    return 'pass'
end
set_numbers(pool, most, rate, window, lease)
if not has_place then
    enqueue(pool, member, key, KEYS[1], 'q:' .. at, name)
    hand_out(pool, member)
    has_place = redis.call('ZSCORE', base .. ':places', member)
end
if has_place then
    note_begin(pool, member, rate, window, lease)
    return 'begun'
end
if message == '' then return 'hold' end
redis.call('ZREM', 'onward:due', member)  -- so that who sent it last does not drop it
hold(id, at, 'inf', message, is_top, deadline, plan)
return 'held'
"""
)

# A call as a whole, which starts when it has a place.

ENTER = (
    COMMON
    + LIMITS
    + """
local id, deadline, name, pool, key, most, rate, window, lease = unpack(ARGV)
local base, member, now = 'onward:limit:' .. pool, ' ' .. id, clock()
if not is_wanted('', id) then return 0 end
set_numbers(pool, most, rate, window, lease)
local has_place = redis.call('ZSCORE', base .. ':places', member)
if has_place and redis.call('SISMEMBER', base .. ':ready', member) == 0 then return 1 end
if not has_place then
    enqueue(pool, member, key, KEYS[1], 'q:', name)
    hand_out(pool, member)
    has_place = redis.call('ZSCORE', base .. ':places', member)
end
if has_place then
    note_begin(pool, member, rate, window, lease)
    if redis.call('HDEL', KEYS[1], 'held_back') == 1 then
        redis.call('EXPIRE', KEYS[1], LONGEST_OPEN)
    end
    redis.call('ZADD', 'onward:open', 'XX', now, id)
    return 1
end
redis.call('HSET', KEYS[1], 'held_back', 1)
redis.call('ZADD', 'onward:open', 'XX', 'inf', id)  -- so that nobody sends it again
redis.call('PERSIST', KEYS[1])
if deadline ~= '' then add_due('! ' .. id, deadline) end
return 0
""".replace("LONGEST_OPEN", str(LONGEST_OPEN))
)

LEAVE = (
    COMMON
    + LIMITS
    + """
local id, at = unpack(ARGV)
local pool = string.match(redis.call('HGET', KEYS[1], 'q:' .. at) or '', '\\t(.*)$')
if pool then leave(pool, at, id) end
"""
)

# The score of a claimed entry is when the claim ends: the entry is due again then.

CLAIM = (
    COMMON
    + LIMITS
    + f"""
local now, claimed, size = clock(), {{}}, 0
local found = redis.call(
    'ZRANGE', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, {AT_ONCE}
)
for _, member in ipairs(found) do
    local at, id = string.match(member, '^(%S*) (.*)$')
    if at == '%' then hand_out(id) end
    local key = 'onward:' .. (at ~= '%' and id or '')
    local known = redis.pcall('HMGET', key, 'plan', 'end', 'slot')
    local message = ''
    if at and at ~= '' and at ~= '!' then message = redis.pcall('HGET', key .. ':held', at) end
    if at == '%' then
        message = nil  -- it is a pool of a limit, and says itself when it is due again
    elseif not at or known.err or known[2] or not known[1] or type(message) ~= 'string' then
        redis.call('ZREM', KEYS[1], member)
    else
        if size > {BYTES_AT_ONCE} then break end
        size = size + #message
        local ends = string.format('%.6f', now + ARGV[1])
        redis.call('ZADD', KEYS[1], ends, member)
        if at == '' and known[3] then redis.call('HSET', key, 'begun', 1) end
        claimed[#claimed + 1] = {{at, id, ends, message}}
    end
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {{claimed, first[2] and string.format('%.6f', first[2] - now) or false}}
"""
)

RELEASE = (
    COMMON
    + f"""
for index = 1, #ARGV, 3 do
    local at, id, ends = unpack(ARGV, index, index + 2)
    local key, member = 'onward:' .. id, at .. ' ' .. id
    local score = redis.call('ZSCORE', KEYS[1], member)
    if score and tonumber(score) == tonumber(ends) then
        redis.call('ZREM', KEYS[1], member)
        redis.call('HDEL', key .. ':held', at)
        if redis.call('EXISTS', key .. ':held') == 0 and redis.call('TTL', key) == -1 then
            redis.call('EXPIRE', key, {LONGEST_OPEN})
            redis.call('EXPIRE', key .. ':signals', {LONGEST_OPEN})
        end
        note_progress(id, clock())
    end
end
"""
)
