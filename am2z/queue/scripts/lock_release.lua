-- Gives a lock back, or a place in the line for it, and wakes who is next. Safe to send again, though the
-- repeat answers 0.
-- KEYS  prefix
-- ARGV  name owner
-- Answers 1 · 0 (it was not the owner's, or not any more)
--@include lock
local mine = call('HGET', lock, 'owner') == ARGV[2]
if mine then call('DEL', lock) end
if call('HDEL', waiters, ARGV[2]) == 1 then call('LREM', queue, '0', ARGV[2]) end
if call('EXISTS', lock) == 0 then
  local owner, runtime = first_in_line()
  if owner and runtime ~= '' then
    local inbox = P .. 'in:' .. runtime
    if call('RPUSH', inbox, owner .. ' +') == 1 then call('PEXPIRE', inbox, '600000') end
  end
end
return mine and 1 or 0
