-- What every script stands on: the prefix of all keys, a short name for redis.call, exact numbers.
local P = KEYS[1]
local call = redis.call
-- Lua writes large numbers with an exponent; this writes every digit of a whole number below 2^53.
local function int(n) return string.format('%d', n) end
