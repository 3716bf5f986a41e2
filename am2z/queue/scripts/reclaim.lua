-- Takes work back from workers whose leases ran out. Every worker runs it: there is no leader.
-- Safe to send again.
-- KEYS  prefix
-- ARGV  limit result_ttl_ms
-- Answers {put back, poisoned (delivered as often as allowed, and never finished; or broken by others)}
--@include corrupt
--@include queue
--@include session
local back, poisoned = 0, 0
local ids = call('ZRANGEBYSCORE', P .. 'leases', '-inf', int(now_ms()), 'LIMIT', '0', ARGV[1])
for _, id in ipairs(ids) do
  local job = read_job(id)
  local broken = not job or job.t ~= 'a' and not is_placed(id, job.t, job.p, job.s)
  if broken and set_aside(id, 'a', nil, nil, ARGV[2]) then
    poisoned = poisoned + 1
  elseif broken or job.t ~= 'a' then
    -- finished since, as a child of one of these, or lost by Redis
    call('ZREM', P .. 'leases', id)
  elseif stopped(job.s) then
    finish(id, job, 'F', 'stopped', '', ARGV[2])
  elseif tonumber(job.n) >= tonumber(job.x) then
    finish(id, job, 'F', 'poison', '', ARGV[2])
    poisoned = poisoned + 1
  else
    call('ZREM', P .. 'leases', id)
    if job.s ~= '' then call('SREM', P .. 'sj:' .. job.s, id) end
    -- without its fence, so that the late nack of the worker is refused
    call('HDEL', P .. 'j:' .. id, 'f', 'k', 'g')
    call('HSET', P .. 'j:' .. id, 't', 'w')
    event('retrying', id, job, nil, 'lease')
    move(job.p, job.s, 'a', 'w')
    push(job.p, job.s, id, true)
    wake(job.p)
    back = back + 1
  end
end
return settle({back, poisoned})
