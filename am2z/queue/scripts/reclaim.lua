-- Takes work back from workers whose leases ran out. Every worker runs it: there is no leader.
-- Safe to send again.
-- KEYS  prefix
-- ARGV  limit result_ttl_ms
-- Answers {put back, poisoned (delivered as often as allowed, and never finished)}
--@include finish
--@include session
local limit, ttl = tonumber(ARGV[1]), ARGV[2]
local back, poisoned = 0, 0
local ids = call('ZRANGEBYSCORE', P .. 'leases', '-inf', int(now_ms()), 'LIMIT', 0, limit)
for _, id in ipairs(ids) do
  local job = load(id)
  if not job or job.t ~= 'a' then
    -- finished since, as a child of one of these, or lost by Redis
    call('ZREM', P .. 'leases', id)
  elseif stopped(job.s) then
    finish(id, job, 'F', 'stopped', '', ttl)
  elseif tonumber(job.n) >= tonumber(job.x) then
    finish(id, job, 'F', 'poison', '', ttl)
    poisoned = poisoned + 1
  else
    call('ZREM', P .. 'leases', id)
    -- without its fence, so that the late nack of the worker is refused
    call('HDEL', P .. 'j:' .. id, 'f', 'k', 'g')
    call('HSET', P .. 'j:' .. id, 't', 'w')
    event('retrying', id, job.p, job.s, job.a, nil, nil, 'lease')
    if job.s ~= '' then call('SREM', P .. 'sj:' .. job.s, id) end
    move(job.p, job.s, 'a', 'w', 1)
    push(job.p, job.s, id, true)
    back = back + 1
  end
end
return {back, poisoned}
