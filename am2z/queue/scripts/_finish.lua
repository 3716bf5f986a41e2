--@include base
--@include time
--@include event
--@include job
--@include result
--@include count
--@include dead
--@include session
local budget = 1000  -- children that one script may cancel; see cancel_children
local ended = 0      -- executions that this script finished

local cancel_children

-- Ends an execution for good, wherever it is; settle() completes that. A waiting one must be out of its list already (evict does
-- that). why is '' for what its worker reports; version and fence are given by ack only, so a worker
-- that was away can never take an end that others made for its own.
local function finish(id, job, status, why, body, ttl, data, version, fence)
  local was, group = job.t, job.s
  ended = ended + 1
  if was == 'a' then unleased[#unleased + 1] = id
  elseif was == 'y' then call('ZREM', P .. 'delayed', id) end
  if group ~= '' then
    if was == 'a' then call('SREM', P .. 'sj:' .. group, id)
    elseif was == 'y' then call('SREM', P .. 'sy:' .. group, id) end
    if not stopped(group) then use(group, int(now_ms())) end
  end
  move(job.p, group, was, status)
  -- what never started has no `active` event, so its end must not look like the end of a run
  local kind = status == 'D' and 'completed' or job.n and 'failed' or 'dropped'
  local event_id = event(kind, id, job, data, why)

  -- What somebody ended on purpose is no dead letter, nor is a call: its caller has the error.
  if status == 'F' and (why == '' or why == 'poison' or why == 'corrupt') and not job.u then bury(id, job, body, why) end

  local head = id .. ' ' .. status .. ' ' .. (why == '' and '-' or why) .. ' ' .. (version or '0')
    .. ' ' .. event_id .. ' '
  local entry = head .. '=' .. body
  call('DEL', P .. 'j:' .. id, P .. 'd:' .. id)
  call('SET', P .. 'r:' .. id, (fence or '-') .. ' ' .. (job.h or '-') .. ' ' .. job.p .. ' '
    .. (group == '' and '-' or group) .. ' ' .. entry, 'PX', ttl)
  if job.o then
    local text = #body > LONG and head .. '*' or entry
    for runtime in string.gmatch(job.o, '%S+') do post(runtime, text) end
  end
  if job.u then call('SREM', P .. 'kd:' .. job.u, id) end
  if job.c then cancel_children(id, why == 'stopped' and 'stopped' or 'cancelled', ttl) end
end

-- Ends a live execution on somebody's wish; a worker that runs it is told by its inbox.
local function evict(id, job, why, ttl)
  --@include unqueue
  if job.t == 'w' then unqueue(job.p, job.s, id) end
  if job.t == 'a' then post(job.k, id .. ' !' .. job.f) end
  -- nobody has told a result: what is known is how far it was
  finish(id, job, 'F', why, call('HGET', P .. 'j:' .. id, 'g') or '', ttl)
end

-- Nobody waits for the children of what has ended. One script cancels so many and no more; those that
-- are left are dropped when a claim meets them, because their parent is gone.
cancel_children = function(id, why, ttl)
  for _, child in ipairs(call('SRANDMEMBER', P .. 'kd:' .. id, budget)) do
    budget = budget - 1
    local job = read_job(child)
    if job then evict(child, job, why, ttl) else call('SREM', P .. 'kd:' .. id, child) end
    if budget <= 0 then return end
  end
end
