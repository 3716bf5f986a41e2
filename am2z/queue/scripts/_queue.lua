--@include base
-- Waiting work. w:<proc>:<group> lists the executions of one session, next one at the right end.
-- ready:<proc> is the ring of the groups that have such a list: a claim takes one execution from the
-- group at the right end and puts the group back at the left, so every session has its turn.
-- Invariant: a group is in the ring exactly once while its list is not empty.
-- A list may hold ids that wait no longer (cancelled) and blanks; a claim skips both.

-- Wakes a worker that is blocked on wake:<proc>, or several. Tokens carry no data, so losing some is
-- harmless.
local function wake(proc, several)
  local key, tokens, n = P .. 'wake:' .. proc, math.min(several or 1, 64), 0
  for _ = 1, tokens do n = call('LPUSH', key, '1') end
  if n == tokens then call('PEXPIRE', key, '600000') elseif n > 64 then call('LTRIM', key, '0', '63') end
end

local function push(proc, group, id, front)
  local n = call(front and 'RPUSH' or 'LPUSH', P .. 'w:' .. proc .. ':' .. group, id)
  if n == 1 then call('LPUSH', P .. 'ready:' .. proc, group) end
end
