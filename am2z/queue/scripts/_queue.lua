--@include base
-- Waiting work. w:<proc>:<group> lists the executions of one session, next one at the right end.
-- ready:<proc> is the ring of the groups that have such a list: a claim takes one execution from the
-- group at the right end and puts the group back at the left, so every session has its turn.
-- Invariant: a group is in the ring exactly once while its list is not empty.
-- A list may hold ids that wait no longer (cancelled) and blanks; a claim skips both.
local SHORT = 256  -- LREM walks a list, so it is for lists up to this length

-- Wakes one worker that is blocked on wake:<proc>. Tokens carry no data, so losing some is harmless.
local function wake(proc)
  local key = P .. 'wake:' .. proc
  local n = call('LPUSH', key, '1')
  if n == 1 then call('PEXPIRE', key, 600000) elseif n > 64 then call('LTRIM', key, 0, 63) end
end

local function push(proc, group, id, front)
  local n = call(front and 'RPUSH' or 'LPUSH', P .. 'w:' .. proc .. ':' .. group, id)
  if n == 1 then call('LPUSH', P .. 'ready:' .. proc, group) end
  wake(proc)
end

-- Takes a group whose list has just become empty out of the ring. From a long ring that would cost too
-- much: there a blank in the list keeps the invariant until a claim passes by.
local function leave_ring(proc, group)
  local ready = P .. 'ready:' .. proc
  if call('LLEN', ready) > SHORT then
    call('RPUSH', P .. 'w:' .. proc .. ':' .. group, '')
  else
    call('LREM', ready, 1, group)
    if call('EXISTS', ready) == 0 then call('DEL', P .. 'wake:' .. proc) end
  end
end

-- Takes a waiting execution out of its list, or leaves it there for the next claim if that is long.
local function unqueue(proc, group, id)
  local list = P .. 'w:' .. proc .. ':' .. group
  if call('LLEN', list) > SHORT or call('LREM', list, 1, id) == 0 then return end
  if call('EXISTS', list) == 0 then leave_ring(proc, group) end
end
