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
`onward:due`: a sorted set of what is due later. The score is the time. The members are
    ` <id>`: a call that starts then,
    `<path> <id>`: a message that is sent then,
    `! <id>`: a call that waits, and expires then,
    `% <pool>`: a pool of a limit that a worker looks at then; see `limit_scripts`.
`onward:<id>:held`: a hash with the held messages of a call, by path.
`onward:<id>:signals`: a hash with the values of the signals that were sent to a call.
`onward:unique:<slot>`: a hash with the open calls of a key: `first`, and `next`, which comes after
    it, with `due`, when that one starts at the earliest.
`onward:calls`: a sorted set of the calls that are listed. The score is the time of submission.
`onward:calls:<end>`: the same for calls that ended in this state, other than `done`, or are `lost`.
`onward:wake`: a list with at most one item, which wakes up a worker that waits for the first entry
    of `onward:due`.

In the record of a call, `o:<path>` is the outcome of a step, `b:<path>` is there while a step runs,
`r:<path>` is the number of a held attempt, and `w:<path>` says how a wait stands. `quiet` is set if
a search need not look for lost messages of the call, because nothing of it is on its way but a held
message; `checks` says how often it was sent again beside held messages, without progress. `slot` is
there if the call shares a key, and `begun` once it can no longer be replaced. `f:<path>` is there
once a flow with a cleanup has begun, and `cleanups` if any has. `cancelling` is the outcome with
which a call ends when its cleanups have ended, and `ends` is its state then.

`refused` says why a worker has refused a message of the call, since when it made no progress.
`about` has the time of submission, and the flow and the tags for lists; `ended` has the time of the
end, in microseconds, and the kind of the fault if one ended it. A call that continues another one
begins with `o:<path>`, the outcomes that it takes over, `a:<path>`, other arguments for a step, and
`d:<path>`, when a wait ends at the latest.

`log_scripts` describes the log, and `packed` how the record of a call that has ended is packed.
"""

from __future__ import annotations

OPEN_CALLS = "onward:open"
ROUTES = "onward:routes"
SEARCHES = "onward:looks"
SENT = "onward:sent:"
DUE = "onward:due"
CALLS = "onward:calls"

_MOST_LISTED = 1_000_000
"""How many calls are listed; of more than these, the newest."""

_AT_ONCE = 1_000
"""How many entries a script handles, so that it does not block Redis for long."""

COMMON = """
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

-- Notes progress of a call, of which messages may be held: another one may be lost from now on.
local function note_progress(id, at)
    if redis.call('HDEL', 'onward:' .. id, 'quiet', 'checks') > 0 then
        redis.call('ZADD', 'onward:open', 'XX', at, id)
    else
        note_activity(id, at)
    end
end

-- Wakes up a worker that waits for the first entry of what is due later.
local function wake_up()
    if redis.call('EXISTS', 'onward:wake') == 0 then
        redis.call('LPUSH', 'onward:wake', 1)
        redis.call('EXPIRE', 'onward:wake', 60)
    end
end

-- Adds an entry to what is due later, and wakes up a worker if it is the first one.
local function add_due(member, at)
    redis.call('ZADD', 'onward:due', at, member)
    if redis.call('ZRANGE', 'onward:due', 0, 0)[1] == member then wake_up() end
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

LISTING = f"""
-- Adds a new call to the list of calls, with a time of its own within a batch.
local function list_call(id, now, number, about)
    local submitted = string.format('%.6f', now + number / 1e6)
    redis.call('HSET', 'onward:' .. id, 'about', submitted .. ' ' .. about)
    redis.call('ZADD', 'onward:calls', submitted, id)
    local more = redis.call('ZCARD', 'onward:calls') - {_MOST_LISTED}
    if more > 0 then redis.call('ZREMRANGEBYRANK', 'onward:calls', 0, more - 1) end
end
"""

SENDING = """
-- Notes that a message of a call is being sent. If the broker is this Redis, sends it too.
-- Returns whether it has been sent.
local function send(id, message, route, at, list, raw)
    redis.call('ZADD', 'onward:sent:' .. route, at, message .. ' ' .. id)
    redis.call('SADD', 'onward:routes', route)
    return list ~= '' and type(redis.pcall('LPUSH', list, raw)) == 'number'
end
"""

# If the message cannot be sent, the call is in the ledger all the same, and counts as lost later.

ADD_CALLS = (
    COMMON
    + LISTING
    + SENDING
    + """
local now, added, place = clock(), {}, 2
for index = 2, #KEYS do
    local key = KEYS[index]
    local id, plan, delay, about, message, route, list, raw, count = unpack(ARGV, place, place + 8)
    place = place + 9
    added[index - 1] = redis.call('HSETNX', key, 'plan', plan)
    if added[index - 1] == 1 then
        redis.call('EXPIRE', key, math.ceil(delay + ARGV[1]))
        redis.call('ZADD', KEYS[1], now + delay, id)
        list_call(id, now, index - 2, about)
        for field = place, place + count - 1, 2 do
            redis.call('HSET', key, ARGV[field], ARGV[field + 1])
        end
        if tonumber(delay) > 0 then add_due(' ' .. id, now + delay) end
        if message ~= '' then
            redis.call('HSET', key, 'waits', 1)
            -- Each message gets a time of its own, so that their order is known.
            send(id, message, route, now + index / 1e6, list, raw)
        end
    end
    place = place + count
end
return added
"""
)

NOTE_SENT = (
    COMMON
    + """
local now = clock()
for index = 1, #ARGV, 3 do
    local id, message, route = unpack(ARGV, index, index + 2)
    local key = 'onward:' .. id
    if redis.call('EXISTS', key) == 1 then
        local sent = 'onward:sent:' .. route
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

NOTE_BEGUN = """
-- Notes that a message has been received, and all that were sent to its route before it.
local function note_begun(route, message)
    local sent = redis.call('ZSCORE', route, message)
    if not sent then return end
    for _, before in ipairs(redis.call(
        'ZRANGE', route, '-inf', '(' .. sent, 'BYSCORE', 'LIMIT', 0, 20
    )) do
        note_received(route, before)
    end
    note_received(route, message)
end
"""

IN_CLEANUP = """
-- Whether a step belongs to a cleanup, as `onward.scope.in_cleanup` says.
local function in_cleanup(at)
    return string.find('.' .. at .. '.', '%.finally[.%[]') ~= nil
end
"""

# If no worker has looked for a while, the ledger may have been away, so that no worker could renew
# its leases. The workers get time for that before any call counts as lost.

TAKE_TURN = (
    COMMON
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
    COMMON
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
    COMMON
    + f"""
local found = redis.call(
    'ZRANGE', KEYS[1], '-inf', clock() - ARGV[1], 'BYSCORE', 'LIMIT', 0, {_AT_ONCE}
)
for _, message in ipairs(found) do note_received(KEYS[1], message) end
return #found
"""
)

# If messages of a call are held, only one that is outside of all fan-outs rules out that another
# message was lost. Otherwise the call is sent again, in which the held messages stay as they are,
# and as long as it makes no progress once more after pauses that double, up to an hour.

FIND_LOST = (
    COMMON
    + f"""
local function is_quiet(id)
    local key = 'onward:' .. id
    return redis.call('EXISTS', key .. ':held') == 1 and redis.call('HEXISTS', key, 'quiet') == 1
end
local lost, bad = {{}}, {{}}
local found = redis.call(
    'ZRANGE', KEYS[1], '-inf', clock() - ARGV[1], 'BYSCORE', 'LIMIT', ARGV[2], {_AT_ONCE}
)
for _, id in ipairs(found) do
    local waits = redis.pcall('HGET', 'onward:' .. id, 'waits')
    if type(waits) == 'table' then
        redis.call('ZREM', KEYS[1], id)
        bad[#bad + 1] = id
    elseif (tonumber(waits or 0) or 0) > 0 or is_quiet(id) then
        redis.call('ZADD', KEYS[1], 'inf', id)
    else
        lost[#lost + 1] = id
    end
end
return {{#found, lost, bad}}
"""
)

CLAIM_LOST = (
    COMMON
    + """
local last, now = redis.call('ZSCORE', KEYS[2], ARGV[1]), clock()
if not last or tonumber(last) > now - ARGV[2] then return 0 end
redis.call('ZADD', KEYS[2], now, ARGV[1])
if redis.call('EXISTS', KEYS[1] .. ':held') == 1 then
    local checks = redis.call('HINCRBY', KEYS[1], 'checks', 1)
    local pause = ARGV[2] * (2 ^ math.min(checks - 1, 20) - 1)
    redis.call('ZADD', KEYS[2], now + math.min(pause, 3600), ARGV[1])
    if checks > 1 then return 1 end
end
return redis.call('HINCRBY', KEYS[1], 'revived', 1)
"""
)
