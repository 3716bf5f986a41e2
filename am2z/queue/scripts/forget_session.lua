-- Removes what is known of a session, its state too; work for it is accepted again.
-- Safe to send again.
-- KEYS  prefix
-- ARGV  group
-- Answers 1 · 0 (it has live executions: stop it first)
--@include work
local group = ARGV[1]
if work(group) > 0 then return 0 end
call('DEL', P .. 's:' .. group, P .. 'st:' .. group, P .. 'sj:' .. group, P .. 'sy:' .. group)
call('ZREM', P .. 'sessions', group)
return 1
