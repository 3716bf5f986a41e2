--@include base
--@include time
--@include job
--@include count
--@include queue
-- Milliseconds until the next delayed execution is due; -1 without one.
local function next_due()
  local head = call('ZRANGE', P .. 'delayed', '0', '0', 'WITHSCORES')
  if not head[1] then return -1 end
  return math.max(0, tonumber(head[2]) - now_ms())
end
-- Moves at most `limit` delayed executions that are due into their lists; answers how many, next_due.
local function promote(limit)
  local due = next_due()
  if due ~= 0 then return 0, due end
  local ids = call('ZRANGEBYSCORE', P .. 'delayed', '-inf', int(now_ms()), 'LIMIT', '0', limit)
  for _, id in ipairs(ids) do
    local job = read_job(id)
    call('ZREM', P .. 'delayed', id)
    if not job then
      --@include corrupt
      set_aside(id, 'y', nil, nil, '600000')
    else
      call('HSET', P .. 'j:' .. id, 't', 'w')
      if job.s ~= '' then call('SREM', P .. 'sy:' .. job.s, id) end
      move(job.p, job.s, 'y', 'w')
      push(job.p, job.s, id, false)
      wake(job.p)
    end
  end
  return #ids, next_due()
end
