-- Takes a lock, for a time. Safe to send again: an owner (one for each acquisition) that has it keeps it.
-- KEYS  prefix
-- ARGV  name owner ttl_ms
-- Answers {1, fence} · {0, ms until it expires}
--@include fence
local key = P .. 'lock:' .. ARGV[1]
local v = call('HMGET', key, 'owner', 'fence')
if v[1] and v[1] ~= ARGV[2] then return {0, math.max(1, call('PTTL', key))} end
local fence = v[2] or int(take_fences(1))
call('HSET', key, 'owner', ARGV[2], 'fence', fence)
call('PEXPIRE', key, ARGV[3])
return {1, fence}
