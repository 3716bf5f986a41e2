-- Tells where executions stand. For a waiter that sweeps, and for results too long for an inbox.
-- KEYS  prefix
-- ARGV  whole (1: long bodies too) id [id …]
-- Answers status detail [status detail …]: '' '' for an unknown id; w, y or a and the progress ('' for
--       none); D or F and the entry
--@include finish
local answer = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local v = call('HMGET', P .. 'j:' .. id, 't', 'y', 'v', 'e', 'g')
  local detail = v[5] or ''
  if v[1] == 'D' or v[1] == 'F' then
    detail = entry(id, v[1], v[2], v[3], v[4], call('GET', P .. 'd:' .. id) or '', ARGV[1] == '1')
  end
  answer[#answer + 1] = v[1] or ''
  answer[#answer + 1] = detail
end
return answer
