-- Tells where executions stand. For a waiter that sweeps, and for results too long for an inbox.
-- Safe to send again.
-- KEYS  prefix
-- ARGV  whole (1: long bodies too) id [id …]
-- Answers status detail [status detail …]: '' '' for an unknown id; w, y or a and the progress ('' for
--       none); D or F and the entry
--@include result
local answer = {}
for i = 2, #ARGV do
  local v = call('HMGET', P .. 'j:' .. ARGV[i], 't', 'g')
  local status, detail = v[1] or '', v[2] or ''
  local past = not v[1] and recall(ARGV[i])
  if past then status, detail = past.status, ARGV[1] == '1' and past.entry or past.short end
  answer[#answer + 1] = status
  answer[#answer + 1] = detail
end
return answer
