--@include settle
-- The counters of q:<processor>, and for a named session those of s:<group>: e:<processor> accepted,
-- y: delayed, D: done, F: failed. (Its active ones are the members of sj:<group>; the rest waits.)
local NAMES = {w = 'waiting', y = 'delayed', a = 'active', D = 'completed', F = 'failed'}
-- Counts an execution's way from one status to another (nil: from nowhere).
local function move(proc, group, from, to)
  local q = P .. 'q:' .. proc
  if from then add(q, NAMES[from], -1) end
  add(q, NAMES[to], 1)
  if group == '' then return end
  local s = P .. 's:' .. group
  if not from then add(s, 'e:' .. proc, 1) elseif from == 'y' then add(s, 'y:' .. proc, -1) end
  if to ~= 'w' and to ~= 'a' then add(s, to .. ':' .. proc, 1) end
end
