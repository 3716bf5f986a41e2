--@include base
-- Writes the state of a session, one version further. ttl_ms: > 0 sets it, 0 removes it, < 0 keeps it.
-- The field x says that the key has a time to live, so that most writes need not remove one.
local function expire_state(group, ttl)
  local key = P .. 'st:' .. group
  if call('PEXPIRE', key, ttl) == 1 then call('HSET', key, 'x', '1') end
end
local function commit(group, data, sum, kind, ttl)
  local key = P .. 'st:' .. group
  local now = call('HMGET', key, 'v', 'x')
  local version = int((is_count(now[1] or '') and tonumber(now[1]) or 0) + 1)
  call('HSET', key, 'v', version, 'data', data, 'sum', sum, 'type', kind)
  ttl = tonumber(ttl)
  if ttl > 0 then expire_state(group, ttl)
  elseif ttl == 0 and now[2] then
    call('HDEL', key, 'x')
    call('PERSIST', key)
  end
  return version
end
