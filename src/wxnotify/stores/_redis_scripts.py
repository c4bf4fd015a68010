"""
The Lua scripts of the Redis stores: each is one atomic step on one key, as a cluster demands.

They read a value's fields with one pattern, in their fixed order, because to decode
and encode JSON in Lua costs as much as the rest of a script. What the fields mean
is told in ``_redis_claims.py``. Times are the server's alone.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Any, Final

from ._redis_protocol import Ask, Refusal, Steps, pack, pack_words


class Script:
    """
    A Lua script on one key.

    Args:
        lua: Its text.

        arguments: How many it takes besides the key.
    """

    def __init__(self, lua: str, arguments: int) -> None:
        text = lua.encode()
        digest = sha1(text, usedforsecurity=False).hexdigest().encode()
        words = b"*%d\r\n" % (4 + arguments)
        #: Teaches it to the server.
        self.load = pack(b"SCRIPT", b"LOAD", text)
        #: How the command begins that runs it; the key and the arguments follow.
        self.by_digest = words + pack_words(b"EVALSHA", digest, b"1")
        self._by_text = words + pack_words(b"EVAL", text, b"1")

    def run(self, name: bytes, *arguments: bytes) -> Steps[Any]:
        """Run it on the key *name*, and return what it replied."""
        rest = pack_words(name, *arguments)
        reply = yield Ask(self.by_digest + rest, name)
        if isinstance(reply, Refusal):
            # NOSCRIPT: a new server, a restart, SCRIPT FLUSH. From here on it knows it.
            reply = yield Ask(self._by_text + rest, name)
        return reply


# What a value is, after its beginning up to the state.
_FIELDS: Final = '^(%a+)","attempts":(%d+),"lease":(-?%d+),"age":(%d+),"kept":(%d+)(,.*)$'
# wxnotify.idempotency.judge, on the server. ARGV: a first claim's value, owner,
# fingerprint, lease, time to live. `since` is the time since the value changed; a
# key that somebody persisted counts as old, so that its lease is over.
CLAIM: Final = Script(
    f"""
local stored = redis.call('GET', KEYS[1])
if not stored then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[5])
  return {{'acquired', 1, 1, ''}}
end
local generation, owner, from = string.match(stored, '^{{"generation":(%d+),"owner":"(%x*)","state":"()')
if not from then return redis.error_reply('ERR the key holds something else than a claim') end
local state, attempts, lease, age, kept, rest = string.match(stored, '{_FIELDS}', from)
local since = kept - redis.call('PTTL', KEYS[1])
local outcome, result = 'acquired', ''
if string.match(rest, '^,"fingerprint":"(%x*)"') ~= ARGV[3] then
  outcome = 'mismatch'
elseif state == 'done' then
  outcome, result = 'completed', string.match(rest, ',"result":(".*")}}$') or ''
elseif state ~= 'pending' or owner ~= ARGV[2] then
  if state == 'pending' and lease - since > 0 then
    outcome = 'in_progress'
  else
    generation, attempts = generation + 1, attempts + 1
  end
end
if outcome == 'acquired' then
  redis.call('SET', KEYS[1], '{{"generation":' .. generation .. ',"owner":"' .. ARGV[2]
    .. '","state":"pending","attempts":' .. attempts .. ',"lease":' .. ARGV[4]
    .. ',"age":' .. age + since .. ',"kept":' .. ARGV[5] .. rest, 'PX', ARGV[5])
end
return {{outcome, tonumber(generation), tonumber(attempts), result}}
""",
    arguments=5,
)
# Changes a claim that is still held. ARGV: how its value begins, time to live, and the verb's own.
_CHANGE: Final = f"""
local stored = redis.call('GET', KEYS[1])
if not stored or string.sub(stored, 1, #ARGV[1]) ~= ARGV[1] then return false end
local state, attempts, lease, age, kept, rest = string.match(stored, '{_FIELDS}', #ARGV[1] + 1)
if state == 'pending' then
  local since = kept - redis.call('PTTL', KEYS[1])
  local new_state, new_lease = 'pending', lease - since
  CHANGE
  redis.call('SET', KEYS[1], ARGV[1] .. new_state .. '","attempts":' .. attempts .. ',"lease":' .. new_lease
    .. ',"age":' .. age + since .. ',"kept":' .. ARGV[2] .. rest, 'PX', ARGV[2])
end
return state
"""
# A result comes last, and only with a completion.
COMPLETE: Final = Script(
    _CHANGE.replace("CHANGE", "new_state, rest = 'done', string.sub(rest, 1, -2) .. ARGV[3] .. '}'"),
    arguments=3,
)
# No text has this in it by chance: inside a JSON string, a backslash is before each quote.
RELEASE: Final = Script(
    _CHANGE.replace(
        "CHANGE",
        "new_state, rest = 'released', string.match(rest, '^(.-,\"error\":)') .. ARGV[3] .. '}'",
    ),
    arguments=3,
)
EXTEND: Final = Script(_CHANGE.replace("CHANGE", "new_lease = ARGV[3]"), arguments=3)
# Replies with what is stored, when it will be forgotten, and the time. PEXPIRETIME is
# exact and new in Redis 7; the sum may be a millisecond off.
LOOK: Final = Script(
    """
local stored = redis.call('GET', KEYS[1])
if not stored then return false end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local forgotten = redis.pcall('PEXPIRETIME', KEYS[1])
if type(forgotten) ~= 'number' or forgotten < 0 then
  forgotten = now + math.max(redis.call('PTTL', KEYS[1]), 0)
end
return {stored, forgotten, now}
""",
    arguments=0,
)
