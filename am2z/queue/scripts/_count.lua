--@include base
-- The counters of q:<processor>, and the same for a named session in s:<group> (w:<processor> …).
local NAMES = {w = 'waiting', y = 'delayed', a = 'active', D = 'completed', F = 'failed'}
-- Moves `by` executions from one status to another ('' is nowhere); answers the new count.
local function move(proc, group, from, to, by)
  local q, n = P .. 'q:' .. proc, 0
  if from ~= '' then call('HINCRBY', q, NAMES[from], -by) end
  if to ~= '' then n = call('HINCRBY', q, NAMES[to], by) end
  if group ~= '' then
    local s = P .. 's:' .. group
    if from ~= '' then call('HINCRBY', s, from .. ':' .. proc, -by) end
    if to ~= '' then call('HINCRBY', s, to .. ':' .. proc, by) end
  end
  return n
end
