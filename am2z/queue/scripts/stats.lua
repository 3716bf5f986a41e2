-- Counts executions for each processor: of the namespace, or of one session. Safe to send again.
-- KEYS  prefix
-- ARGV  [group]
-- Answers processor waiting active delayed completed failed [processor waiting …]
--@include base
local answer = {}
local function add(proc, waiting, active, delayed, done, failed)
  for _, value in ipairs({proc, waiting or '0', active or '0', delayed or '0', done or '0', failed or '0'}) do
    answer[#answer + 1] = value
  end
end

if not ARGV[1] then
  for _, proc in ipairs(call('SMEMBERS', P .. 'procs')) do
    local q = P .. 'q:' .. proc
    add(proc, unpack(call('HMGET', q, 'waiting', 'active', 'delayed', 'completed', 'failed')))
  end
  return answer
end

local group, active = ARGV[1], {}
-- as many as workers run at once
for _, id in ipairs(call('SMEMBERS', P .. 'sj:' .. group)) do
  local proc = call('HGET', P .. 'j:' .. id, 'p')  -- false, which is nobody's name, if Redis lost it
  active[proc] = (active[proc] or 0) + 1
end
for _, field in ipairs(call('HKEYS', P .. 's:' .. group)) do
  local proc = string.match(field, '^e:(.*)$')
  if proc then
    local v = call('HMGET', P .. 's:' .. group, field, 'y:' .. proc, 'D:' .. proc, 'F:' .. proc)
    local delayed, done, failed = tonumber(v[2]) or 0, tonumber(v[3]) or 0, tonumber(v[4]) or 0
    local runs = active[proc] or 0
    add(proc, int((tonumber(v[1]) or 0) - delayed - done - failed - runs), int(runs), int(delayed), int(done), int(failed))
  end
end
return answer
