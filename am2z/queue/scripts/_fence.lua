--@include base
--@include time
-- Takes `n` fencing tokens, answers the first: max(previous + 1, server microseconds). So fences grow
-- even where a failover or an eviction lost the counter, or the clock was set back.
local WEEK = '604800000'  -- it ends with an abandoned namespace, also where nobody said goodbye
local function take_fences(n)
  local first = now_us()
  local previous = tonumber(call('SET', P .. 'fence', int(first + n - 1), 'GET', 'PX', WEEK) or '0') or 0
  if previous >= first and previous < 2 ^ 52 then  -- what is larger nobody here has written
    first = previous + 1
    call('SET', P .. 'fence', int(first + n - 1), 'PX', WEEK)
  end
  return first
end
