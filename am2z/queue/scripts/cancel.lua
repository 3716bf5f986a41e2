-- Ends an execution at once, with its children. Safe to send again.
-- KEYS  prefix
-- ARGV  id result_ttl_ms why(cancelled)
-- Answers 'ok' (it is cancelled now) · 'absent' · 'finished' (it had ended in another way)
--@include finish
local id = ARGV[1]
local job = read_job(id)
if not job then
  local past = recall(id)
  return not past and 'absent' or past.why == ARGV[3] and 'ok' or 'finished'
end
evict(id, job, ARGV[3], ARGV[2])
return settle('ok')
