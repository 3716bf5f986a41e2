-- Removes what is known of a session, its state too; work for it is accepted again.
-- KEYS  prefix
-- ARGV  group
-- Answers 1 · 0 (it has live executions: stop it first)
--@include base
local group = ARGV[1]
local fields = call('HGETALL', P .. 's:' .. group)
for i = 1, #fields, 2 do
  if string.find(fields[i], '^[way]:') and tonumber(fields[i + 1]) > 0 then return 0 end
end
call('DEL', P .. 's:' .. group, P .. 'st:' .. group, P .. 'sj:' .. group)
call('ZREM', P .. 'sessions', group)
return 1
