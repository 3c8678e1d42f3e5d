"""How the record of a call that has ended is packed, so that it takes less memory in Redis.

Redis stores a hash compactly if all of its values are short. So a longer value is split, and what
follows its first piece is in the fields `<field>#1`, `<field>#2` and so on. Parts that most plans
and outcomes have are replaced by one byte each, which JSON cannot contain. What only an open call
needs is left out, and so are `step` if it is `0`, `attempt` if it is `1`, and `task` if it is the
flow's name. Of `about`, only the time of submission is kept, in microseconds, if the plan says the
rest.

A record stays as it is if it is long, if a step still runs, which will write to its log, or if it
has no `about`: then a client of an earlier release, which cannot read it packed, has submitted it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

PIECE = 64
"""How long the pieces of a value are in a packed record: as long as Redis stores compactly."""

WHOLE = f"""
-- The value of a field, given the first piece of it if the record is packed.
local function whole(key, field, first)
    if not first or #first ~= {PIECE} then return first end
    local pieces, number = {{first}}, 0
    repeat
        number = number + 1
        local piece = redis.call('HGET', key, field .. '#' .. number)
        pieces[number + 1] = piece or ''
    until not piece
    return table.concat(pieces)
end
"""

_MOST = 4_000
"""How many bytes a record has at most that is packed."""

_MOST_FIELDS = 120
"""How many fields a packed record has at most; Redis stores more than 128 in another way."""

_PHRASES = (
    '","root":{"op":"step","task":"<flow>"},"args":{"positional":[',
    '{"queue":"onward","v":1,"id":"<id>","flow":"',
    '{"queue":"',
    '","v":1,"id":"<id>","flow":"',
    '","root":',
    '"},{"op":"step","task":"',
    '{"op":"step","task":"',
    '{"op":"chain","steps":[',
    '"}]},"args":{"positional":[',
    '"},"args":{"positional":[',
)
"""What is replaced in a plan, by the bytes from 1 on; `<id>` and `<flow>` by those of the call."""

_FLOW = re.compile(rb'"flow":"([^"\x01]*)')
_FIRST_FLOW = re.compile(rb'\x02([^"\x00-\x1f]*)')
"""The name of the flow in the first piece of a packed plan."""

_VALUE, _END = '{"outcome":"value","raw":', "}"
_IS_VALUE = 1
"""The byte that stands for these parts of an outcome."""

_LUA_PHRASES = ", ".join(f"'{phrase}'" for phrase in _PHRASES)

PACKING = f"""
local phrases = {{{_LUA_PHRASES}}}
local temporary = {{
    waits = true, progress = true, quiet = true, checks = true, revived = true
}}

local function replaced(text, part, by)
    local first, last = string.find(text, part, 1, true)
    while first do
        text = string.sub(text, 1, first - 1) .. by .. string.sub(text, last + 1)
        first, last = string.find(text, part, first + #by, true)
    end
    return text
end

-- An outcome without the parts that each value has.
local function shortened_outcome(raw)
    if string.sub(raw, 1, {len(_VALUE)}) ~= '{_VALUE}' or string.sub(raw, -1) ~= '{_END}' then
        return raw
    end
    return string.char({_IS_VALUE}) .. string.sub(raw, {len(_VALUE) + 1}, -2)
end

-- What lists show, without what the packed plan says too.
local function shortened_about(about, plan, flow)
    local seconds, parts, rest = string.match(about, '^(%d+)%.(%d%d%d%d%d%d) (.*)$')
    local is_said = rest == '["' .. flow .. '",[]]' and #flow < {PIECE // 2}
        and string.sub(plan, 1, #flow + 1) == string.char(2) .. flow
        and string.find(plan, '^["%c]', #flow + 2)
    return is_said and seconds .. parts or about
end

local function shortened(plan, id, flow)
    if string.find(plan, '%c') then return plan end
    for number, phrase in ipairs(phrases) do
        phrase = replaced(replaced(phrase, '<id>', id), '<flow>', flow)
        plan = replaced(plan, phrase, string.char(number))
    end
    return plan
end

-- Packs the record of a call that has ended, and that is kept for so many seconds.
local function pack(key, id, keep)
    local fields, found, size = redis.call('HGETALL', key), {{}}, 0
    local plan, about = unpack(redis.call('HMGET', key, 'plan', 'about'))
    if not (plan and about) or #plan > {_MOST} then return end
    local flow = string.match(plan, '"flow":"([^"]*)"') or ''
    plan = shortened(plan, id, flow)
    for index = 1, #fields, 2 do
        local name, value = fields[index], fields[index + 1]
        local kind = string.sub(name, 1, 2)
        size = size + #name + #value
        if kind == 'b:' or kind == 'c:' or size > {_MOST} then return end
        local is_usual = (name == 'step' and value == '0') or (name == 'attempt' and value == '1')
            or (name == 'task' and value == flow)
        if not (temporary[name] or is_usual) then
            if name == 'plan' then value = plan end
            if name == 'outcome' then value = shortened_outcome(value) end
            if name == 'about' then value = shortened_about(value, plan, flow) end
            found[#found + 1], found[#found + 2] = name, string.sub(value, 1, {PIECE})
            for number = 1, math.floor((#value - 1) / {PIECE}) do
                local first = number * {PIECE}
                found[#found + 1] = name .. '#' .. number
                found[#found + 1] = string.sub(value, first + 1, first + {PIECE})
            end
        end
    end
    if #found > 2 * {_MOST_FIELDS} then return end
    redis.call('DEL', key)
    redis.call('HSET', key, unpack(found))
    redis.call('EXPIRE', key, keep)
end
"""


def restored(id: str, plan: bytes) -> bytes:
    """A plan, as it was before it was packed."""
    for number, phrase in reversed(list(enumerate(_PHRASES, 1))):
        text = phrase.replace("<id>", id).encode()
        if b"<flow>" in text and bytes([number]) in plan:
            flow = _FLOW.search(plan)
            text = text.replace(b"<flow>", flow.group(1) if flow else b"")
        plan = plan.replace(bytes([number]), text)
    return plan


def restored_outcome(raw: bytes) -> bytes:
    """An outcome, as it was before it was packed."""
    if raw[:1] != bytes([_IS_VALUE]):
        return raw
    return _VALUE.encode() + raw[1:] + _END.encode()


def restored_about(about: bytes, plan: bytes) -> bytes:
    """What lists show of a call, as it was before it was packed.

    Args:
        about: What was packed.
        plan: The first piece of its plan, as it was packed.
    """
    flow = None if b" " in about else _FIRST_FLOW.match(plan)
    if flow is None:
        return about
    return b'%b.%b ["%b",[]]' % (about[:-6], about[-6:], flow.group(1))


def joined(fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The fields of a record, with their pieces put together; the plan is packed as before."""
    whole: dict[bytes, bytes] = {}
    pieces: list[tuple[bytes, int, bytes]] = []
    for name, value in fields.items():
        field, _, number = name.rpartition(b"#")
        if field and number.isdigit():
            pieces.append((field, int(number), value))
        else:
            whole[name] = value
    for field, _, value in sorted(pieces):
        whole[field] = whole.get(field, b"") + value
    if b"outcome" in whole:
        whole[b"outcome"] = restored_outcome(whole[b"outcome"])
    if b"about" in whole:
        whole[b"about"] = restored_about(whole[b"about"], whole.get(b"plan", b""))
    return whole
