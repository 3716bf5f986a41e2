-- What every script stands on: the prefix of all keys, a sturdy redis.call, exact numbers.
local P = KEYS[1]
local try, type = redis.pcall, type
-- What others broke in our namespace is put aside: a key of another kind is removed, and so is a counter
-- that is no number.
local function mend(problem, ...)
  local _, key, field = ...
  if string.find(problem, 'WRONGTYPE', 1, true) then redis.call('DEL', key)
  elseif string.find(problem, 'hash value', 1, true) or string.find(problem, 'overflow', 1, true) then
    redis.call('HDEL', key, field)
  end
  return redis.call(...)
end
-- redis.call, but no script may end halfway for what others did: Lua has no rollback.
local function call(...)
  local reply = try(...)
  if type(reply) == 'table' and reply.err then return mend(reply.err, ...) end
  return reply
end
local function is_count(text) return #text < 16 and string.match(text, '^%d+$') end
-- Lua writes large numbers with an exponent; this writes every digit of a whole number below 2^53.
local function int(n) return string.format('%d', n) end
