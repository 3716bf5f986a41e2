-- Counts executions for each processor: of the namespace, or of one session.
-- KEYS  prefix
-- ARGV  [group]
-- Answers processor waiting active delayed completed failed [processor waiting …]
--@include base
local answer = {}
local function add(proc, v)
  answer[#answer + 1] = proc
  for i = 1, 5 do answer[#answer + 1] = v[i] or '0' end
end
if ARGV[1] then
  local key = P .. 's:' .. ARGV[1]
  local seen = {}
  for _, field in ipairs(call('HKEYS', key)) do
    local proc = string.match(field, '^[wayDF]:(.*)$')
    if proc and not seen[proc] then
      seen[proc] = true
      add(proc, call('HMGET', key, 'w:' .. proc, 'a:' .. proc, 'y:' .. proc, 'D:' .. proc,
        'F:' .. proc))
    end
  end
  return answer
end
for _, proc in ipairs(call('SMEMBERS', P .. 'procs')) do
  add(proc, call('HMGET', P .. 'q:' .. proc, 'waiting', 'active', 'delayed', 'completed', 'failed'))
end
return answer
