--@include base
-- Counts the live executions in a session, from the fields of its hash; answers also if it is stopped.
local function work(group)
  local fields, n, stopped = call('HGETALL', P .. 's:' .. group), 0, false
  for i = 1, #fields, 2 do
    local kind = string.match(fields[i], '^([eDF]):')
    if kind == 'e' then n = n + (tonumber(fields[i + 1]) or 0)
    elseif kind then n = n - (tonumber(fields[i + 1]) or 0)
    elseif fields[i] == 'stopped' then stopped = true end
  end
  return n, stopped
end
