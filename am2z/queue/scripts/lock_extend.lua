-- Keeps a lock for longer. Safe to send again.
-- KEYS  prefix
-- ARGV  name owner ttl_ms
-- Answers 1 · 0 (it is not the owner's any more)
--@include base
local key = P .. 'lock:' .. ARGV[1]
if call('HGET', key, 'owner') ~= ARGV[2] then return 0 end
call('PEXPIRE', key, ARGV[3])
return 1
