-- Forgets a dead letter. Safe to send again.
-- KEYS  prefix
-- ARGV  id
-- Answers 1 · 0 (there was none)
--@include base
call('DEL', P .. 'x:' .. ARGV[1])
return call('ZREM', P .. 'dead', ARGV[1])
