-- Gives an execution back. retry: the attempt failed and another one follows; the children of this
-- attempt are cancelled. return: the worker is leaving; the delivery is not counted, the work goes to the
-- front of its list and its children go on. Safe to send again: the fence of a nack is kept.
-- KEYS  prefix
-- ARGV  id fence mode(retry|return) delay_ms event_data result_ttl_ms
-- Answers 'ok' · 'lost' · 'stopped' (its session was stopped; it is finished)
--@include finish
--@include session
local id, fence, mode, delay = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local key, job = P .. 'j:' .. id, load(id)
if not job then return 'lost' end
if job.t ~= 'a' or job.f ~= fence then
  if job.f == fence and live(job) then return 'ok' end
  return call('HGET', key, 'y') == 'stopped' and 'stopped' or 'lost'
end
if stopped(job.s) then
  finish(id, job, 'F', 'stopped', '', ARGV[6])
  return 'stopped'
end
local status = delay > 0 and 'y' or 'w'
event('retrying', id, job.p, job.s, job.a, nil, ARGV[5], mode == 'return' and 'return' or nil)
call('ZREM', P .. 'leases', id)
call('HDEL', key, 'k', 'g')
if mode == 'retry' then
  call('HSET', key, 't', status, 'n', '0', 'a', int(tonumber(job.a) + 1))
else
  call('HSET', key, 't', status, 'n', int(math.max(0, tonumber(job.n) - 1)))
end
move(job.p, job.s, 'a', status, 1)
if status == 'y' then
  call('ZADD', P .. 'delayed', int(now_ms() + delay), id)
else
  if job.s ~= '' then call('SREM', P .. 'sj:' .. job.s, id) end
  push(job.p, job.s, id, true)
end
if mode == 'retry' then cancel_children(id, 'cancelled', ARGV[6]) end
return 'ok'
