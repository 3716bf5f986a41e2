-- What every script stands on: the prefix of all keys, a short name for redis.call, exact numbers.
local P = KEYS[1]
local call = redis.call
-- Redis and Lua write large numbers with an exponent; this writes every digit.
local function int(n) return string.format('%.0f', n) end
