-- Takes back what presence said, for some processors, or for all of them with the inbox of the runtime.
-- Safe to send again.
-- KEYS  prefix
-- ARGV  runtime [processor …]
-- Answers 1
--@include base
local runtime = ARGV[1]
if ARGV[2] then
  for i = 2, #ARGV do call('ZREM', P .. 'served:' .. ARGV[i], runtime) end
  return 1
end
for _, proc in ipairs(call('SMEMBERS', P .. 'procs')) do
  call('ZREM', P .. 'served:' .. proc, runtime)
end
call('DEL', P .. 'in:' .. runtime)
return 1
