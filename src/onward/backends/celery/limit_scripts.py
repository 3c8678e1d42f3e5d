"""The Lua scripts about the places of limits.

Steps share the places of a pool. `onward:limit:<pool>` is a hash with the numbers of the limit as
the last step that asked had them: `c`, how many may run, `r`, how many may begin within `w`
seconds, and `l`, how many seconds a place is kept for a step that shows no activity. `seq` numbers
what happens. Steps are named `<path> <id>`, as in `onward:due`, and so are calls with a limit of
their own, ` <id>`. Beside it are the keys

`:places`: a sorted set of the steps that have a place. The score is until when it is kept. After
    that, it is kept as long as the step's lease is there.
`:ready`: a set of those of them that have not begun. They count as beginning now.
`:begun`: a list of the times when attempts began, the newest first.
`:keys`: a sorted set of the keys with steps that wait. The first one is next.
`:q:<key>`: a sorted set of the steps with this key that wait. The first one is next.
`:of`: a hash with the key of each step that waits.

`% <pool>` in `onward:due` is when a worker looks at a pool in which steps wait. In the record of a
call, `q:<path>` is the name of a step's limit and its pool, after a tab, as long as the step waits
or has a place. `limits` is there if there has been one.
"""

from __future__ import annotations

LIMITS = """
local function name_of_step(member)
    local at, id = string.match(member, '^(%S*) (.*)$')
    return at, id
end

-- Whether a step that waits is still wanted.
local function is_wanted(at, id)
    local known = redis.call('HMGET', 'onward:' .. id, 'end', 'plan', 'cancelling')
    if known[1] or not known[2] then return false end
    return not known[3] or string.find('.' .. at .. '.', '%.finally[.%[]') ~= nil
end

local function dequeue(base, member)
    local key = redis.call('HGET', base .. ':of', member)
    if not key then return end
    redis.call('HDEL', base .. ':of', member)
    redis.call('ZREM', base .. ':q:' .. key, member)
    if redis.call('EXISTS', base .. ':q:' .. key) == 0 then
        redis.call('ZREM', base .. ':keys', key)
    else
        redis.call('ZADD', base .. ':keys', redis.call('HINCRBY', base, 'seq', 1), key)
    end
end

-- Removes the places of workers that are gone.
local function drop_dead(base, now, lease)
    local late = redis.call('ZRANGE', base .. ':places', '-inf', now, 'BYSCORE')
    for _, member in ipairs(late) do
        local at, id = name_of_step(member)
        local is_there = redis.call('EXISTS', 'onward:' .. id .. ':at:' .. at) == 1
        if at == '' then is_there = is_wanted(at, id) end  -- a call as a whole
        if is_there then
            redis.call('ZADD', base .. ':places', now + lease, member)
        else
            redis.call('ZREM', base .. ':places', member)
            redis.call('SREM', base .. ':ready', member)
        end
    end
end

-- Hands out what is free of a pool, but sends no message of `this` step.
local function hand_out(pool, this)
    local base, now, opens = 'onward:limit:' .. pool, tonumber(clock()), false
    local numbers = redis.call('HMGET', base, 'c', 'r', 'w', 'l')
    local most, rate = tonumber(numbers[1] or ''), tonumber(numbers[2] or '')
    local window, lease = tonumber(numbers[3] or 0), tonumber(numbers[4] or 30)
    drop_dead(base, now, lease)
    while true do
        local key = redis.call('ZRANGE', base .. ':keys', 0, 0)[1]
        if not key then break end
        local member = redis.call('ZRANGE', base .. ':q:' .. key, 0, 0)[1]
        if not is_wanted(name_of_step(member)) then
            dequeue(base, member)
        else
            if most and redis.call('ZCARD', base .. ':places') >= most then break end
            if rate then
                local free = rate - redis.call('SCARD', base .. ':ready')
                if free <= 0 then break end
                local before = redis.call('LINDEX', base .. ':begun', free - 1)
                if before and tonumber(before) + window > now then
                    opens = tonumber(before) + window
                    break
                end
            end
            dequeue(base, member)
            redis.call('ZADD', base .. ':places', now + lease, member)
            redis.call('SADD', base .. ':ready', member)
            if member ~= this then add_due(member, string.format('%.6f', now)) end
        end
    end
    if redis.call('EXISTS', base .. ':keys') == 0 then
        redis.call('ZREM', 'onward:due', '% ' .. pool)
        return
    end
    local kept = redis.call('ZRANGE', base .. ':places', 0, 0, 'WITHSCORES')[2]
    local next_look = math.min(opens or now + lease, tonumber(kept or now + lease))
    add_due('% ' .. pool, string.format('%.6f', next_look))
    redis.call('EXPIRE', base, 86400)
end

-- Makes somebody wait for a place, who does not yet.
local function enqueue(pool, member, key, record, field, name)
    local base = 'onward:limit:' .. pool
    if redis.call('HEXISTS', base .. ':of', member) == 1 then return end
    local number = redis.call('HINCRBY', base, 'seq', 1)
    redis.call('HSET', base .. ':of', member, key)
    redis.call('ZADD', base .. ':q:' .. key, number, member)
    redis.call('ZADD', base .. ':keys', 'NX', number, key)
    redis.call('HSET', record, field, name .. '\\t' .. pool, 'limits', 1)
end

-- Sets the numbers of a limit.
local function set_numbers(pool, most, rate, window, lease)
    local base = 'onward:limit:' .. pool
    redis.call('HSET', base, 'w', window, 'l', lease)
    for field, number in pairs({c = most, r = rate}) do
        if number == '' then redis.call('HDEL', base, field)
        else redis.call('HSET', base, field, number) end
    end
    redis.call('EXPIRE', base, math.max(86400, 2 * math.ceil(window)))
end

-- Notes that who has a place begins.
local function note_begin(pool, member, rate, window, lease)
    local base, now = 'onward:limit:' .. pool, tonumber(clock())
    redis.call('SREM', base .. ':ready', member)
    redis.call('ZADD', base .. ':places', now + lease, member)
    if rate ~= '' then
        redis.call('LPUSH', base .. ':begun', string.format('%.6f', now))
        redis.call('LTRIM', base .. ':begun', 0, rate - 1)
        redis.call('EXPIRE', base .. ':begun', math.ceil(window) + 1)
    end
end

local function leave(pool, at, id)
    local base, member = 'onward:limit:' .. pool, at .. ' ' .. id
    redis.call('HDEL', 'onward:' .. id, 'q:' .. at)
    redis.call('ZREM', base .. ':places', member)
    redis.call('SREM', base .. ':ready', member)
    dequeue(base, member)
    hand_out(pool)
end

-- Takes a call that has ended out of all limits, but for its steps that run.
local function leave_all(id)
    local key = 'onward:' .. id
    for _, field in ipairs(redis.call('HKEYS', key)) do
        local at = string.match(field, '^q:(.*)$')
        local pool = at and string.match(redis.call('HGET', key, field), '\\t(.*)$')
        if pool then
            local base, member = 'onward:limit:' .. pool, at .. ' ' .. id
            local has_begun = redis.call('ZSCORE', base .. ':places', member)
                and redis.call('SISMEMBER', base .. ':ready', member) == 0
            if at == '' or not has_begun then leave(pool, at, id) end
        end
    end
end
"""
