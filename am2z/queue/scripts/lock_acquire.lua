-- Takes a lock, for a time, or a place in the line for it. Safe to send again: an owner (one for each
-- acquisition) that has it keeps it, and one that waits keeps its place.
-- KEYS  prefix
-- ARGV  name owner ttl_ms runtime wait_ms
--   wait_ms: for how long the place is kept without another call (0: no place); when the lock is free
--   and its turn has come, the runtime finds `owner +` in its inbox
-- Answers {1, fence} · {0, ms until it expires} · {0, -1} (it is free, and another one's turn)
--@include lock
--@include fence
local owner, ttl, wait = ARGV[2], ARGV[3], tonumber(ARGV[5])
local v = call('HMGET', lock, 'owner', 'fence')
if v[1] == owner then
  call('PEXPIRE', lock, ttl)
  return {1, v[2]}
end
local first = first_in_line()
if not v[1] and (not first or first == owner) then
  if first then
    call('LPOP', queue)
    call('HDEL', waiters, owner)
  end
  local fence = int(take_fences(1))
  call('HSET', lock, 'owner', owner, 'fence', fence)
  call('PEXPIRE', lock, ttl)
  return {1, fence}
end
if wait > 0 then
  if not first or call('HEXISTS', waiters, owner) == 0 then call('RPUSH', queue, owner) end
  call('HSET', waiters, owner, int(now_ms() + wait) .. ' ' .. ARGV[4])
  call('PEXPIRE', queue, ARGV[5])
  call('PEXPIRE', waiters, ARGV[5])
end
return {0, v[1] and math.max(1, call('PTTL', lock)) or -1}
