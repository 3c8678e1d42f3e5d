"""The Lua scripts that read, list and delete what is recorded of calls. `scripts` has the keys."""

from __future__ import annotations

from onward.backends.celery.packed import WHOLE
from onward.backends.celery.scripts import COMMON

AT_ONCE = 1_000
"""How many calls or steps one script handles, so that it does not block Redis for long."""

BYTES_AT_ONCE = 4_000_000
"""How many bytes of outcomes one script returns."""

STATE = """
-- The state of a call. It waits if a message of it is held until a wait ends, and no step runs.
local function state_of(key, ends, cancelling, task)
    if ends then return ends end
    if cancelling then return 'cancelling' end
    for _, at in ipairs(redis.call('HKEYS', key .. ':held')) do
        if string.match(redis.call('HGET', key, 'w:' .. at) or '', '^%S+ ') then
            for _, field in ipairs(redis.call('HKEYS', key)) do
                if string.sub(field, 1, 2) == 'b:' then return 'running' end
            end
            return 'waiting'
        end
    end
    return task and 'running' or 'queued'
end
"""

READ = (
    STATE
    + WHOLE
    + """
local first, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local known = redis.call(
    'HMGET', KEYS[1], 'plan', 'outcome', 'about', 'ended', 'l', 'end', 'cancelling', 'task'
)
if not known[1] then return false end
local last = tonumber(known[5]) or 0
local parts = {}
for number = first, math.min(last, first + count - 1) do
    local field = 'l:' .. number
    parts[#parts + 1] = whole(KEYS[1], field, redis.call('HGET', KEYS[1], field)) or ''
end
return {
    whole(KEYS[1], 'plan', known[1]), whole(KEYS[1], 'outcome', known[2]),
    whole(KEYS[1], 'about', known[3]), known[4], state_of(KEYS[1], known[6], known[7], known[8]),
    redis.call('HGETALL', KEYS[1] .. ':signals'), last, parts,
    redis.call('ZSCORE', 'onward:due', ' ' .. string.sub(KEYS[1], #'onward:' + 1))
}
"""
)

# The arguments are, for each step, how many fields it has, and the fields.

READ_STEPS = f"""{WHOLE}
local found, size, place = {{}}, 0, 1
while place <= #ARGV and (#found == 0 or size < {BYTES_AT_ONCE}) do
    local count = tonumber(ARGV[place])
    local values = redis.call('HMGET', KEYS[1], unpack(ARGV, place + 1, place + count))
    for index = 1, count do
        values[index] = whole(KEYS[1], ARGV[place + index], values[index])
        if values[index] then size = size + #values[index] end
    end
    found[#found + 1] = values
    place = place + count + 1
end
return found
"""

KNOWN = """
local found = {}
for index, at in ipairs(ARGV) do
    if redis.call('HEXISTS', KEYS[1], 'o:' .. at) == 1 then found[#found + 1] = index end
end
return found
"""

LIST = (
    STATE
    + WHOLE
    + """
local id, score, since, ends, count = unpack(ARGV)
local first = 0
if ends ~= '' then first = redis.call('ZCOUNT', KEYS[1], ends, '+inf') end
local rank = id ~= '' and redis.call('ZREVRANK', KEYS[1], id)
if rank then
    first = math.max(first, rank + 1)
elseif id ~= '' then
    first = math.max(first, redis.call('ZCOUNT', KEYS[1], score, '+inf'))
end
local found = redis.call('ZRANGE', KEYS[1], first, first + count - 1, 'REV', 'WITHSCORES')
local rows, last, is_over = {}, {}, #found < 2 * count
for index = 1, #found, 2 do
    local id, score = found[index], found[index + 1]
    if since ~= '' and tonumber(score) < tonumber(since) then
        is_over = true
        break
    end
    last = {score, id}
    local key = 'onward:' .. id
    local known = redis.pcall('HMGET', key, 'about', 'ended', 'end', 'cancelling', 'task', 'plan')
    if not known.err and known[6] then
        local state, about = state_of(key, known[3], known[4], known[5]), known[1]
        local plan = about and not string.find(about, ' ', 1, true) and known[6] or ''
        rows[#rows + 1] = {id, score, whole(key, 'about', about), known[2], state, plan}
    end
end
return {rows, is_over and 1 or 0, last}
"""
)

UNLIST = """
local function unlist(id)
    for _, each in ipairs({'', ':failed', ':cancelled', ':expired', ':moved', ':lost'}) do
        redis.call('ZREM', 'onward:calls' .. each, id)
    end
end
"""

FORGET = (
    UNLIST
    + """
local known = redis.call('HMGET', KEYS[1], 'plan', 'end')
if not known[1] then return 'unknown' end
if not known[2] then return 'open' end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, 2) == 'c:' then
        redis.call('DEL', KEYS[1] .. ':at:' .. string.sub(field, 3))
    end
end
redis.call('DEL', KEYS[1], KEYS[1] .. ':held', KEYS[1] .. ':signals')
redis.call('ZREM', 'onward:open', ARGV[1])
unlist(ARGV[1])
return 'forgotten'
"""
)

# Records expire no sooner than so many seconds after their submission. `swept` is where the next
# search goes on, because calls that are open for long must not hold it up.

SWEEP = (
    COMMON
    + UNLIST
    + f"""
local from = redis.call('HGET', KEYS[2], 'swept') or '-inf'
local found = redis.call(
    'ZRANGE', KEYS[1], from, clock() - ARGV[1], 'BYSCORE', 'LIMIT', 0, {AT_ONCE}, 'WITHSCORES'
)
local removed = 0
for index = 1, #found, 2 do
    if redis.call('EXISTS', 'onward:' .. found[index]) == 0 then
        unlist(found[index])
        removed = removed + 1
    end
end
if #found < {2 * AT_ONCE} then
    redis.call('HDEL', KEYS[2], 'swept')
else
    redis.call('HSET', KEYS[2], 'swept', '(' .. found[#found])
end
return removed
"""
)
