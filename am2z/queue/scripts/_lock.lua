--@include base
--@include time
-- Locks. lock:<name> is the hash of who has it, with a TTL: owner, fence. lq:<name> lists those who wait
-- for it, first come first; lw:<name> says of each until when it counts as alive, and in which inbox it
-- is woken. A waiter that dies leaves the line when its time is over; both keys have a TTL.
local lock, queue, waiters = P .. 'lock:' .. ARGV[1], P .. 'lq:' .. ARGV[1], P .. 'lw:' .. ARGV[1]

-- The first in line who is alive, and its inbox. The dead before it are dropped.
local function first_in_line()
  while true do
    local owner = call('LINDEX', queue, '0')
    if not owner then return nil end
    local expiry, inbox = string.match(call('HGET', waiters, owner) or '', '^(%d+) (.*)$')
    if expiry and tonumber(expiry) > now_ms() then return owner, inbox end
    call('LPOP', queue)
    call('HDEL', waiters, owner)
  end
end
