-- Says that a runtime is there and which processors it serves, and keeps alive what would otherwise go
-- with an abandoned namespace. Safe to send again.
-- KEYS  prefix
-- ARGV  runtime ttl_ms [processor …]
-- Answers 1
--@include base
--@include time
local WEEK = 604800000
local runtime, now = ARGV[1], now_ms()
for i = 3, #ARGV do
  local served = P .. 'served:' .. ARGV[i]
  call('ZREMRANGEBYSCORE', served, '-inf', int(now))
  call('ZADD', served, int(now + tonumber(ARGV[2])), runtime)
  call('PEXPIRE', served, WEEK)
  call('SADD', P .. 'procs', ARGV[i])
end
for _, proc in ipairs(call('SMEMBERS', P .. 'procs')) do
  local q = P .. 'q:' .. proc
  local v = call('HMGET', q, 'waiting', 'active', 'delayed')
  -- counters of live work must not expire before the work does, which is never
  if (tonumber(v[1]) or 0) + (tonumber(v[2]) or 0) + (tonumber(v[3]) or 0) > 0 then
    call('PERSIST', q)
  else
    call('PEXPIRE', q, WEEK)
  end
end
for _, name in ipairs({'procs', 'events', 'fence', 'shards'}) do call('PEXPIRE', P .. name, WEEK) end
call('PEXPIRE', P .. 'in:' .. runtime, 600000)
return 1
