--@include base
--@include time
--@include event
--@include job
--@include count
--@include queue
local LONG = 65536         -- a longer body stays in d:<id> and is not copied into inboxes
local INBOX_TTL = 600000   -- ms; a runtime that is alive renews it
local budget = 1000        -- children that one script may cancel; see cancel_children
local ended = 0            -- executions that this script finished

-- The one form in which a finished execution is told: to inboxes, by enqueue and by look.
local function entry(id, status, why, version, event_id, body, whole)
  local head = id .. ' ' .. status .. ' ' .. (why or '-') .. ' ' .. (version or '0') .. ' '
    .. (event_id or '-') .. ' '
  if #body > LONG and not whole then return head .. '*' end
  return head .. '=' .. body
end

local function post(runtime, text)
  local inbox = P .. 'in:' .. runtime
  if call('RPUSH', inbox, text) == 1 then call('PEXPIRE', inbox, INBOX_TTL) end
end

local cancel_children

-- Ends an execution for good, wherever it is. A waiting one must be out of its list already (evict does
-- that). why is '' for what its worker reports; version and fence are given by ack only, so a worker
-- that was away can never take an end that others made for its own.
local function finish(id, job, status, why, body, ttl, data, version, fence)
  local was, group = job.t, job.s
  ended = ended + 1
  ttl = math.max(1, tonumber(ttl))
  if was == 'a' then call('ZREM', P .. 'leases', id)
  elseif was == 'y' then call('ZREM', P .. 'delayed', id) end
  if group ~= '' then
    if was ~= 'w' then call('SREM', P .. 'sj:' .. group, id) end
    -- XX: a stopped session is not listed again
    if why ~= 'stopped' then call('ZADD', P .. 'sessions', 'XX', now_ms(), group) end
  end
  move(job.p, group, was, status, 1)
  -- what never started has no `active` event, so its end must not look like the end of a run
  local kind = 'dropped'
  if status == 'D' then kind = 'completed' elseif job.n then kind = 'failed' end
  local event_id = event(kind, id, job.p, group, job.n and job.a, nil, data, why)

  local key = P .. 'j:' .. id
  local h = {'HSET', key, 'p', job.p, 't', status, 'e', event_id}
  local function keep(field, value)
    if value and value ~= '' then h[#h + 1] = field h[#h + 1] = value end
  end
  keep('s', group) keep('y', why) keep('v', version) keep('c', fence) keep('h', job.h)
  call('DEL', key)
  call(unpack(h))
  call('PEXPIRE', key, ttl)
  if body == '' then call('DEL', P .. 'd:' .. id)
  else call('SET', P .. 'd:' .. id, body, 'PX', ttl) end

  if job.o then
    local text = entry(id, status, why ~= '' and why, version, event_id, body)
    for runtime in string.gmatch(job.o, '%S+') do post(runtime, text) end
  end
  if job.u then call('SREM', P .. 'kd:' .. job.u, id) end
  if job.n then cancel_children(id, why == 'stopped' and 'stopped' or 'cancelled', ttl) end
end

-- Ends a live execution on somebody's wish; a worker that runs it is told by its inbox.
local function evict(id, job, why, ttl)
  if job.t == 'w' then unqueue(job.p, job.s, id) end
  if job.t == 'a' then post(job.k, id .. ' !' .. job.f) end
  finish(id, job, 'F', why, '', ttl)
end

-- Nobody waits for the children of what has ended. One script cancels so many and no more; those that
-- are left are dropped when a claim meets them, because their parent is gone.
cancel_children = function(id, why, ttl)
  if budget <= 0 then return end
  for _, child in ipairs(call('SRANDMEMBER', P .. 'kd:' .. id, budget)) do
    budget = budget - 1
    local job = load(child)
    if live(job) then evict(child, job, why, ttl) else call('SREM', P .. 'kd:' .. id, child) end
    if budget <= 0 then return end
  end
end
