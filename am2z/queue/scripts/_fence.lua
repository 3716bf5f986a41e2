--@include base
--@include time
-- Takes `n` fencing tokens, answers the first: max(previous + 1, server microseconds). So fences grow
-- even where a failover or an eviction lost the counter.
local function take_fences(n)
  local first = tonumber(call('GET', P .. 'fence') or '0') + 1
  if first < now_us() then first = now_us() end
  call('SET', P .. 'fence', int(first + n - 1))
  return first
end
