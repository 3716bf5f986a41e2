-- Names sessions that nothing happened in for longer than a time; one with live work is not idle. Sessions
-- whose stopping was interrupted come first.
-- KEYS  prefix
-- ARGV  idle_ms limit
-- Answers groups
--@include base
--@include time
local groups, now = {}, now_ms()
local function busy(group)
  local fields = call('HGETALL', P .. 's:' .. group)
  local work = false
  for i = 1, #fields, 2 do
    if fields[i] == 'stopped' then return false end
    if string.find(fields[i], '^[way]:') and tonumber(fields[i + 1]) > 0 then work = true end
  end
  return work
end
local limit = int(now - tonumber(ARGV[1]))
for _, group in ipairs(call('ZRANGEBYSCORE', P .. 'sessions', '-inf', limit, 'LIMIT', 0, ARGV[2])) do
  if busy(group) then
    call('ZADD', P .. 'sessions', 'XX', int(now), group)
  else
    groups[#groups + 1] = group
  end
end
return groups
