"""Fragments of Lua that write what happens in a call into its record, for `history`.

The fields `l:0`, `l:1` and so on are the call's log: a line for each attempt at a step and for each
wait. They are few and long, because a field of its own for each step would take more memory than
its text. A line has, with spaces between,

- the path of the step or the wait,
- the name of the delivery that made the attempt; `~` for a wait,
- the number of the attempt; for a wait, when it ends at the latest, or `inf`,
- when it began,
- when it ended, if it has; `=` if its outcome is that of the call, which ended then.

The lines of one path are in the same field. `l` is the number of the last one, and `c:<path>` that
of a step or wait without an outcome. `e:<path>:<number>` is how an attempt failed that another one
follows.
"""

from __future__ import annotations

KEPT_ATTEMPTS = 10
"""How many failed attempts at a step are kept, besides its outcome: the newest."""

_FULL = 2_000
"""How long a field is when the next step gets another one, in bytes. Each change copies it."""

_LONGEST = 8_000
"""How long a field may become by further attempts at its steps, in bytes."""

LOG = f"""
-- The time in milliseconds, which is enough for people.
local function stamp(at)
    return string.sub(at, 1, -4)
end

-- Notes the beginning of an attempt, or of a wait, and sets further fields.
local function log_begun(key, at, line, ...)
    local number, current = unpack(redis.call('HMGET', key, 'c:' .. at, 'l'))
    local field
    if number then
        field = redis.call('HGET', key, 'l:' .. number) or ''
        local first = #field > {_LONGEST} and string.find(field, '\\n' .. at .. ' ', 1, true)
        if first then
            local last = string.find(field, '\\n', first + 1, true) or #field + 1
            field = string.sub(field, 1, first - 1) .. string.sub(field, last)
        end
    else
        number = current or '0'
        field = redis.call('HGET', key, 'l:' .. number) or ''
        if #field > {_FULL} then
            number, field = string.format('%d', (tonumber(number) or 0) + 1), ''
            redis.call('HSET', key, 'l', number)
        end
    end
    local text = field .. '\\n' .. at .. ' ' .. line
    redis.call('HSET', key, 'c:' .. at, number, 'l:' .. number, text, ...)
end

-- Notes the end of an attempt, or of a wait. A path has further lines until it has an outcome.
local function log_ended(key, at, holder, text, has_outcome)
    local number = redis.call('HGET', key, 'c:' .. at)
    if has_outcome then redis.call('HDEL', key, 'b:' .. at, 'c:' .. at) end
    local field = number and redis.call('HGET', key, 'l:' .. number)
    if not field then return end
    local line = string.find(field, '\\n' .. at .. ' ' .. holder .. ' ', 1, true)
    if not line then return end
    local last = string.find(field, '\\n', line + 1, true) or #field + 1
    text = string.sub(field, 1, last - 1) .. ' ' .. text .. string.sub(field, last)
    redis.call('HSET', key, 'l:' .. number, text)
end

-- Notes how an attempt ended that may be followed by another one.
local function log_failed(key, at, holder, now, number, outcome)
    if redis.call('EXISTS', key) == 0 then return end
    log_ended(key, at, holder, stamp(now), false)
    if outcome == '' then return end
    redis.call('HSET', key, 'e:' .. at .. ':' .. number, outcome)
    redis.call('HDEL', key, 'e:' .. at .. ':' .. (number - {KEPT_ATTEMPTS}))
end
"""
