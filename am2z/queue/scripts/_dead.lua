--@include base
--@include time
--@include job
-- Dead letters: the zset `dead` names them by the time of their end, and each is the hash x:<id> with
-- p processor, s session (absent: none), d payload, r body of the ending ('' where y says why). Bounded
-- by number and by time, because nobody may ever look at them.
local MAX_DEAD, DEAD_TTL = 1000, '604800000'
local function bury(id, job, body, why)
  local key = P .. 'x:' .. id
  call('HSET', key, 'p', job.p, 'd', read_payload(id), 'r', body, 'y', why)
  if job.s ~= '' then call('HSET', key, 's', job.s) end
  call('PEXPIRE', key, DEAD_TTL)
  call('ZADD', P .. 'dead', int(now_ms()), id)
  call('PEXPIRE', P .. 'dead', DEAD_TTL)
  local excess = call('ZCARD', P .. 'dead') - MAX_DEAD
  if excess > 0 then
    for _, old in ipairs(call('ZRANGE', P .. 'dead', '0', int(excess - 1))) do
      call('DEL', P .. 'x:' .. old)
    end
    call('ZREMRANGEBYRANK', P .. 'dead', '0', int(excess - 1))
  end
end
