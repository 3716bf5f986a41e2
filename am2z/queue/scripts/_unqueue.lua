--@include base
local SHORT = 256  -- LREM and LPOS walk a list; so far and no farther

-- Takes a group whose list has just become empty out of the ring. From a long ring that would cost too
-- much: there a blank in the list keeps the invariant until a claim passes by.
local function leave_ring(proc, group)
  local ready = P .. 'ready:' .. proc
  if call('LLEN', ready) > SHORT then
    call('RPUSH', P .. 'w:' .. proc .. ':' .. group, '')
  else
    call('LREM', ready, '1', group)
    if call('EXISTS', ready) == 0 then call('DEL', P .. 'wake:' .. proc) end
  end
end

-- Takes a waiting execution out of its list. In the middle of a long one it stays: a claim will skip it.
local function unqueue(proc, group, id)
  local list = P .. 'w:' .. proc .. ':' .. group
  if call('LPOS', list, id, 'MAXLEN', SHORT) then call('LREM', list, '1', id)
  elseif call('LPOS', list, id, 'RANK', '-1', 'MAXLEN', SHORT) then call('LREM', list, '-1', id)
  else return end
  if call('EXISTS', list) == 0 then leave_ring(proc, group) end
end
