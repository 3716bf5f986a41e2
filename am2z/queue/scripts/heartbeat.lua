-- Renews leases. Safe to send again.
-- KEYS  prefix
-- ARGV  lease_ms id fence [id fence …]
-- Answers the ids that are lost: finished, cancelled, stopped, or given to another worker
--@include base
--@include time
local lost, expiry = {}, int(now_ms() + tonumber(ARGV[1]))
for i = 2, #ARGV, 2 do
  local v = call('HMGET', P .. 'j:' .. ARGV[i], 't', 'f')
  if v[1] == 'a' and v[2] == ARGV[i + 1] then
    call('ZADD', P .. 'leases', expiry, ARGV[i])
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
