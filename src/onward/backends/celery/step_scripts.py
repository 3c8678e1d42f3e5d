"""The Lua scripts about running steps. `scripts` describes the keys."""

from __future__ import annotations

from onward.backends.celery.log_scripts import LOG
from onward.backends.celery.packed import WHOLE
from onward.backends.celery.scripts import COMMON, IN_CLEANUP, NOTE_BEGUN, SENDING

ACKNOWLEDGING = """
-- Acknowledges a message, as kombu does, if the broker is this Redis.
local function acknowledge(tag)
    if tag == '' then return end
    redis.call('ZREM', 'unacked_index', tag)
    redis.call('HDEL', 'unacked', tag)
end
"""

BEGIN_STEP = (
    COMMON
    + NOTE_BEGUN
    + IN_CLEANUP
    + LOG
    + WHOLE
    + """
local id, at, attempt, holder, lease, message, task = unpack(ARGV)
note_begun(KEYS[3], message)
local known =
    redis.call('HMGET', KEYS[1], 'end', 'o:' .. at, 'r:' .. at, 'cancelling', 'a:' .. at)
if known[1] or redis.call('HEXISTS', KEYS[1], 'plan') == 0 then
    return {0, whole(KEYS[1], 'o:' .. at, known[2]), 0}
end
if known[2] then return {1, known[2], 0} end
if known[4] and not in_cleanup(at) then return {1, false, 0, 1} end
local held_by = redis.call('GET', KEYS[2])
if held_by and held_by ~= holder then return {1, false, 1} end
if known[3] and tonumber(attempt) < tonumber(known[3])
    and redis.call('HEXISTS', 'onward:' .. id .. ':held', at) == 1 then
    return {1, false, 1}  -- a later attempt is held
end
redis.call('SET', KEYS[2], holder, 'PX', lease)
local now = clock()
log_begun(
    KEYS[1], at, holder .. ' ' .. attempt .. ' ' .. stamp(now),
    'b:' .. at, '', 'attempt', attempt, 'task', task, 'step', at, 'progress', ''
)
note_progress(id, now)
return {1, false, 0, 0, known[5]}
"""
)

# The script must not write to a record that has expired: it would be kept forever.
#
# The next message is sent with the outcome that is stored, and only then is the message of this
# step acknowledged. Otherwise the worker sends what follows from the stored outcome.

RECORD_OUTCOME = (
    COMMON
    + LOG
    + SENDING
    + ACKNOWLEDGING
    + WHOLE
    + """
local id, at, outcome, holder, tag, message, route, list, raw = unpack(ARGV)
local now, is_new, is_sent = clock(), 0, 0
if redis.call('EXISTS', KEYS[1]) == 1 then
    is_new = redis.call('HSETNX', KEYS[1], 'o:' .. at, outcome)
    if is_new == 1 then
        redis.call('HDEL', KEYS[1], 'revived', 'refused')
        note_progress(id, now)
    end
    log_ended(KEYS[1], at, holder, stamp(now), true)
end
if redis.call('GET', KEYS[2]) == holder then redis.call('DEL', KEYS[2]) end
if is_new == 0 then
    note_activity(id, now)
elseif message ~= '' then
    redis.call('HINCRBY', KEYS[1], 'waits', 1)
    if send(id, message, route, now, list, raw) then
        acknowledge(tag)
        is_sent = 1
    end
end
local field = 'o:' .. at
return {is_sent, is_new == 0 and whole(KEYS[1], field, redis.call('HGET', KEYS[1], field))}
"""
)

UPDATE = """
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], unpack(ARGV)) end
"""

POSTPONE = (
    COMMON
    + LOG
    + """
local id, at, delay, holder, number, outcome = unpack(ARGV)
if redis.call('GET', KEYS[1]) == holder then redis.call('DEL', KEYS[1]) end
log_failed(KEYS[3], at, holder, clock(), number, outcome)
note_activity(id, clock() + delay)
"""
)

RENEW_LEASE = (
    COMMON
    + IN_CLEANUP
    + """
-- Whether a fan-out around a step has failed, and the step does not belong to a cleanup in it.
local function is_cancelled(key, at)
    local open = string.find(at, '[', 1, true)
    while open do
        if not in_cleanup(string.sub(at, open))
            and redis.call('HEXISTS', key, 'x:' .. string.sub(at, 1, open - 1)) == 1 then
            return true
        end
        open = string.find(at, '[', open + 1, true)
    end
    return false
end
local known = redis.call('HMGET', KEYS[2], 'end', 'cancelling')
if known[1] or (known[2] and not in_cleanup(ARGV[4])) then return 0 end
if is_cancelled(KEYS[2], ARGV[4]) then return 0 end
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[2] then return 1 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
note_activity(ARGV[1], clock())
return 1
"""
)
