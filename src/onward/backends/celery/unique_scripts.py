"""The Lua script that adds calls that share a key. `scripts` describes the keys."""

from __future__ import annotations

from onward.backends.celery.due_scripts import LONGEST_OPEN
from onward.backends.celery.scripts import COMMON, LISTING
from onward.backends.celery.settle_scripts import ADVANCE

UNIQUE = "onward:unique:"

ADD_UNIQUE = (
    COMMON
    + ADVANCE
    + LISTING
    + f"""
local id, plan, delay, replaces, deadline, name, other, other_plan, about = unpack(ARGV)
local now = clock()
local due = string.format('%.6f', now + delay)
local first, following = advance(KEYS[2])
if first and replaces == '0' then return {{first}} end

local function keep(key)
    redis.call('EXPIRE', key, math.max(redis.call('TTL', key), math.ceil(delay + {LONGEST_OPEN})))
end

-- A call that comes next has no entry for its start, but one for its deadline.
local function wait_behind(id)
    redis.call('HSET', KEYS[2], 'next', id, 'due', due)
    redis.call('ZADD', KEYS[1], 'inf', id)
    redis.call('ZREM', 'onward:due', '! ' .. id)
    if deadline ~= '' then add_due('! ' .. id, deadline) end
end

local function wait_first(id)
    redis.call('HSET', KEYS[2], 'first', id)
    redis.call('ZADD', KEYS[1], due, id)
    add_due(' ' .. id, due)
end

local replaced = following
if first and not following and redis.call('HEXISTS', 'onward:' .. first, 'begun') == 0 then
    replaced = first
end
if replaced then
    if replaced ~= other then return {{replaced, 'other'}} end
    local submitted = redis.call('HGET', 'onward:' .. replaced, 'about') or ''
    submitted = string.match(submitted, '^%S+') or now
    redis.call(
        'HSET', 'onward:' .. replaced, 'plan', other_plan, 'about', submitted .. ' ' .. about
    )
    if following then wait_behind(replaced) else wait_first(replaced) end
    keep('onward:' .. replaced)
    keep(KEYS[2])
    return {{replaced}}
end

local key = 'onward:' .. id
redis.call('HSET', key, 'plan', plan, 'slot', name)
list_call(id, now, 0, about)
if first then
    wait_behind(id)
elseif replaces == '1' or tonumber(delay) > 0 then
    wait_first(id)
else
    redis.call('HSET', KEYS[2], 'first', id)
    redis.call('HSET', key, 'begun', 1)
    redis.call('ZADD', KEYS[1], now, id)
end
keep(key)
keep(KEYS[2])
return {{id, 'new'}}
"""
)
