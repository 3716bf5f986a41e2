-- The server's clock. It is an include of its own so that a test can put a virtual clock here.
-- A worker's clock is never looked at: machines disagree about the time, one Redis does not.
local clock_us
local function now_us()
  if not clock_us then
    local t = redis.call('TIME')
    clock_us = tonumber(t[1]) * 1000000 + tonumber(t[2])
  end
  return clock_us
end
local function now_ms() return math.floor(now_us() / 1000) end
