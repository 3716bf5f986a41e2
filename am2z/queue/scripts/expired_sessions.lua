-- Names sessions that nothing happened in for longer than a time; one with live work is not idle. Sessions
-- whose stopping was interrupted come first. Safe to send again.
-- KEYS  prefix
-- ARGV  idle_ms limit
-- Answers groups
--@include time
--@include work
local groups, now = {}, now_ms()
local limit = int(now - tonumber(ARGV[1]))
for _, group in ipairs(call('ZRANGEBYSCORE', P .. 'sessions', '-inf', limit, 'LIMIT', 0, ARGV[2])) do
  local n, stopped = work(group)
  if n > 0 and not stopped then
    call('ZADD', P .. 'sessions', int(now), group)
  else
    groups[#groups + 1] = group
  end
end
return groups
