-- Accepts executions, each once for its id: a repeat registers one more waiter and changes nothing else.
-- KEYS  prefix
-- ARGV  {execution} …, an execution being
--       id processor group payload delay_ms (or @ms, a time of the server's clock) max_deliveries max_queue
--       reply_to need_served parent parent_fence call_hash
-- Answers for each {'ok', waiting} · {'exists'} · {'finished', entry} · {'stopped'} · {'full', waiting}
--       · {'unserved'} · {'orphan'} (the parent does not run under that fence) · {'mismatch'} (the id is
--       known, with another processor, session or call_hash)
--@include base
--@include time
--@include count
--@include queue
local now
local waiting, woken = {}, {}  -- of each processor: how many wait, and for how many a worker is woken
local lists, order, sessions, fresh = {}, {}, {}, {}

local function known_waiting(proc)
  local n = waiting[proc]
  if not n then
    n = tonumber(call('HGET', P .. 'q:' .. proc, 'waiting')) or 0
    waiting[proc] = n
  end
  return n
end

-- What is known of a session: whether it is stopped, whether it was created.
local function look_at(group)
  local session = sessions[group]
  if not session then
    session = call('HMGET', P .. 's:' .. group, 'stopped', 'created')
    sessions[group] = session
  end
  return session
end

local function accept(id, proc, group, payload, delay, deliveries, most, reply_to, need_served, parent,
                      parent_fence, hash)
  local key = P .. 'j:' .. id
  local caller
  if parent ~= '' then
    caller = call('HMGET', P .. 'j:' .. parent, 't', 'f', 'c')
    if caller[1] ~= 'a' or caller[2] ~= parent_fence then return {'orphan'} end
  end

  local known = call('HMGET', key, 'p', 's', 'h', 'o')
  if known[1] then
    if known[1] ~= proc or (known[2] or '') ~= group or (known[3] or '') ~= hash then
      return {'mismatch'}
    end
    local waiters = known[4] or ''
    if reply_to ~= '' and not string.find(' ' .. waiters .. ' ', ' ' .. reply_to .. ' ', 1, true) then
      call('HSET', key, 'o', waiters == '' and reply_to or waiters .. ' ' .. reply_to)
    end
    return {'exists'}
  end
  if call('EXISTS', P .. 'r:' .. id) == 1 then
    --@include result
    local past = recall(id)
    if past then
      local same = past.proc == proc and past.group == (group == '' and '-' or group)
        and past.hash == (hash == '' and '-' or hash)
      return same and {'finished', past.short} or {'mismatch'}
    end
  end

  local session = group ~= '' and look_at(group)
  if session and session[1] then return {'stopped'} end
  now = now or now_ms()
  if need_served == '1' and call('ZCOUNT', P .. 'served:' .. proc, '(' .. int(now), '+inf') == 0 then
    return {'unserved'}
  end
  local n = known_waiting(proc)
  if most ~= '0' and n >= tonumber(most) then return {'full', n} end

  if session and not session[2] then
    --@include event
    call('HSET', P .. 's:' .. group, 'created', int(now))
    -- Later its score moves when work ends: until then it is not idle anyway.
    call('ZADD', P .. 'sessions', int(now), group)
    record('created', 's', group)
    session[2] = '1'
  end
  local later = tonumber(delay) or math.max(0, tonumber(string.sub(delay, 2)) - now)
  local status = later > 0 and 'y' or 'w'
  local h, size = {'HSET', key, 'p', proc, 't', status, 'x', deliveries}, 8
  if group ~= '' then h[9], h[10], size = 's', group, 10 end
  if reply_to ~= '' then h[size + 1], h[size + 2], size = 'o', reply_to, size + 2 end
  if parent ~= '' then h[size + 1], h[size + 2], size = 'u', parent, size + 2 end
  if hash ~= '' then h[size + 1], h[size + 2] = 'h', hash end
  call(unpack(h))
  call('SET', P .. 'd:' .. id, payload)
  if caller then
    call('SADD', P .. 'kd:' .. parent, id)
    if not caller[3] then call('HSET', P .. 'j:' .. parent, 'c', '1') end
  end

  move(proc, group, nil, status)
  if status == 'y' then
    call('ZADD', P .. 'delayed', int(now + later), id)
    fresh[proc] = true
    woken[proc] = (woken[proc] or 0) + 1  -- whoever sleeps until something else is due must look again
    if group ~= '' then call('SADD', P .. 'sy:' .. group, id) end
    return {'ok', n}
  end
  local list = P .. 'w:' .. proc .. ':' .. group
  local entry = lists[list]
  if not entry then
    entry = {proc, group}
    lists[list] = entry
    order[#order + 1] = list
  end
  entry[#entry + 1] = id
  waiting[proc] = n + 1
  if n == 0 then fresh[proc] = true end
  -- A worker that is idle found no work at all: the first 64 that come have woken everyone.
  if n < 64 then woken[proc] = (woken[proc] or 0) + 1 end
  return {'ok', n + 1}
end

local answers = {}
for i = 1, #ARGV, 12 do
  answers[#answers + 1] = accept(unpack(ARGV, i, i + 11))
end
for _, list in ipairs(order) do
  local entry = lists[list]
  local n = #entry - 2
  if call('LPUSH', list, unpack(entry, 3)) == n then call('LPUSH', P .. 'ready:' .. entry[1], entry[2]) end
end
for proc in pairs(fresh) do call('SADD', P .. 'procs', proc) end
for proc, n in pairs(woken) do wake(proc, n) end
return settle(answers)
