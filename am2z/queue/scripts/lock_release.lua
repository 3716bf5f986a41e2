-- Gives a lock back. Safe to send again, though the repeat answers 0.
-- KEYS  prefix
-- ARGV  name owner
-- Answers 1 · 0 (it was not the owner's any more)
--@include base
local key = P .. 'lock:' .. ARGV[1]
if call('HGET', key, 'owner') ~= ARGV[2] then return 0 end
call('DEL', key)
return 1
