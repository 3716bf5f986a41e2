--@include base
-- The counters of q:<processor>, and for a named session those of s:<group>: e:<processor> accepted,
-- y: delayed, D: done, F: failed. (Its active ones are the members of sj:<group>; the rest waits.)
local NAMES = {w = 'waiting', y = 'delayed', a = 'active', D = 'completed', F = 'failed'}
-- Counts an execution's way from one status to another (nil: from nowhere); answers the new count.
local function move(proc, group, from, to)
  local q = P .. 'q:' .. proc
  if from then call('HINCRBY', q, NAMES[from], '-1') end
  local n = call('HINCRBY', q, NAMES[to], '1')
  if group ~= '' then
    local s = P .. 's:' .. group
    if not from then call('HINCRBY', s, 'e:' .. proc, '1')
    elseif from == 'y' then call('HINCRBY', s, 'y:' .. proc, '-1') end
    if to ~= 'w' and to ~= 'a' then call('HINCRBY', s, to .. ':' .. proc, '1') end
  end
  return n
end
