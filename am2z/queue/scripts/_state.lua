--@include base
-- Writes the state of a session, one version further. ttl_ms: > 0 sets it, 0 removes it, < 0 keeps it.
local function commit(group, data, sum, kind, ttl)
  local key = P .. 'st:' .. group
  local version = call('HINCRBY', key, 'v', 1)
  call('HSET', key, 'data', data, 'sum', sum, 'type', kind)
  ttl = tonumber(ttl)
  if ttl > 0 then call('PEXPIRE', key, ttl) elseif ttl == 0 then call('PERSIST', key) end
  return int(version)
end
