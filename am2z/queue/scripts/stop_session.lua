-- Stops a session: refuses new work for it and finishes what it has, a batch for each call. Call it until
-- `more` is 0. If the caller dies in between, the session is the first that expired_sessions names.
-- Safe to send again.
-- KEYS  prefix
-- ARGV  group limit result_ttl_ms session_ttl_ms (0: until it is forgotten)
-- Answers {finished, more (1 or 0)}
--@include corrupt
--@include unqueue
--@include state
local group, left, ttl, keep = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local key = P .. 's:' .. group
local flags = call('HMGET', key, 'stopped', 'created')
if flags[1] == '2' then return {0, 0} end
if not flags[1] then
  call('HSET', key, 'stopped', '1')
  -- Listed no longer, and the first to be named where a caller asks who has expired.
  call('ZADD', P .. 'sessions', '0', group)
  if flags[2] then record('stopped', 's', group) end
end

for _, set in ipairs({P .. 'sj:' .. group, P .. 'sy:' .. group}) do
  for _, id in ipairs(left > 0 and call('SRANDMEMBER', set, left) or {}) do
    left = left - 1
    local job = read_job(id)
    if job then evict(id, job, 'stopped', ttl) else call('SREM', set, id) end
  end
end

for _, field in ipairs(call('HKEYS', key)) do
  local proc = string.match(field, '^e:(.*)$')
  local list = proc and P .. 'w:' .. proc .. ':' .. group
  local n = proc and math.min(left, call('LLEN', list)) or 0
  if n > 0 then
    left = left - n
    local ids = call('LRANGE', list, -n, -1)
    call('LTRIM', list, 0, -n - 1)
    if call('EXISTS', list) == 0 then leave_ring(proc, group) end
    for i = n, 1, -1 do
      -- an id that was cancelled here can have come again in another session
      local job = read_job(ids[i])
      if not job then set_aside(ids[i], 'w', proc, group, ttl)
      elseif job.s == group then finish(ids[i], job, 'F', 'stopped', '', ttl) end
    end
  end
end

if left <= 0 then return settle({ended, 1}) end
call('HSET', key, 'stopped', '2')
call('ZREM', P .. 'sessions', group)
if keep > 0 then
  call('PEXPIRE', key, keep)
  -- what ends sooner by itself is not kept for longer
  local left_of_state = call('PTTL', P .. 'st:' .. group)
  if left_of_state < 0 or left_of_state > keep then expire_state(group, keep) end
end
return settle({ended, 0})
