-- Gives an execution back. retry: the attempt failed and another one follows; the children of this
-- attempt are cancelled. return: the worker is leaving; the delivery is not counted, the work goes to the
-- front of its list and its children go on. Safe to send again: the fence of a nack is kept.
-- KEYS  prefix
-- ARGV  id fence mode(retry|return) delay_ms event_data result_ttl_ms
-- Answers 'ok' · 'lost' · 'stopped' (its session was stopped; it is finished)
--@include finish
--@include queue
--@include session
local id, fence, mode, delay = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local key, job = P .. 'j:' .. id, read_job(id)
if not job then
  local past = recall(id)
  return past and past.why == 'stopped' and 'stopped' or 'lost'
end
if job.f ~= fence then return 'lost' end
if job.t ~= 'a' then return 'ok' end  -- a repeat: no other way leaves the fence behind
if stopped(job.s) then
  finish(id, job, 'F', 'stopped', '', ARGV[6])
  return settle('stopped')
end
local status = delay > 0 and 'y' or 'w'
event('retrying', id, job, ARGV[5], mode == 'return' and 'return')
call('ZREM', P .. 'leases', id)
if job.s ~= '' then call('SREM', P .. 'sj:' .. job.s, id) end
call('HDEL', key, 'k', 'g')
if mode == 'retry' then
  call('HSET', key, 't', status, 'n', '0', 'a', int(tonumber(job.a) + 1))
else
  call('HSET', key, 't', status, 'n', int(math.max(0, tonumber(job.n) - 1)))
end
move(job.p, job.s, 'a', status)
if status == 'y' then
  call('ZADD', P .. 'delayed', int(now_ms() + delay), id)
  if job.s ~= '' then call('SADD', P .. 'sy:' .. job.s, id) end
  wake(job.p)  -- whoever sleeps until something else is due must look again
else
  push(job.p, job.s, id, true)
  wake(job.p)
end
if mode == 'retry' and job.c then cancel_children(id, 'cancelled', ARGV[6]) end
return settle('ok')
