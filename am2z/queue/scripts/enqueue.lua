-- Accepts an execution, once for each id: a repeat registers one more waiter and changes nothing else.
-- KEYS  prefix
-- ARGV  id processor group payload delay_ms (or @ms, a time of the server's clock) max_deliveries reply_to max_queue need_served
--       parent parent_fence call_hash
-- Answers {'ok', waiting} · {'exists'} · {'finished', entry} · {'stopped'} · {'full', waiting}
--       · {'unserved'} · {'orphan'} (the parent does not run under that fence) · {'mismatch'} (the id is
--       known, with another processor, session or call_hash)
--@include base
--@include time
--@include count
--@include queue
local id, proc, group, reply_to = ARGV[1], ARGV[2], ARGV[3], ARGV[7]
local max_queue, parent, hash = tonumber(ARGV[8]), ARGV[10], ARGV[12]
local delay = tonumber(ARGV[5])
if not delay then delay = math.max(0, tonumber(string.sub(ARGV[5], 2)) - now_ms()) end
local key = P .. 'j:' .. id

local caller
if parent ~= '' then
  caller = call('HMGET', P .. 'j:' .. parent, 't', 'f', 'c')
  if caller[1] ~= 'a' or caller[2] ~= ARGV[11] then return {'orphan'} end
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

local session = group ~= '' and call('HMGET', P .. 's:' .. group, 'stopped', 'created')
if session and session[1] then return {'stopped'} end
if ARGV[9] == '1' and call('ZCOUNT', P .. 'served:' .. proc, '(' .. int(now_ms()), '+inf') == 0 then
  return {'unserved'}
end
if max_queue > 0 then
  local waiting = tonumber(call('HGET', P .. 'q:' .. proc, 'waiting')) or 0
  if waiting >= max_queue then return {'full', waiting} end
end

if session and not session[2] then
  --@include event
  call('HSET', P .. 's:' .. group, 'created', int(now_ms()))
  -- Later its score moves when work ends: until then it is not idle anyway.
  call('ZADD', P .. 'sessions', int(now_ms()), group)
  record('created', 's', group)
end
local status = delay > 0 and 'y' or 'w'
local h, n = {'HSET', key, 'p', proc, 't', status, 'x', ARGV[6]}, 8
if group ~= '' then h[9], h[10], n = 's', group, 10 end
if reply_to ~= '' then h[n + 1], h[n + 2], n = 'o', reply_to, n + 2 end
if parent ~= '' then h[n + 1], h[n + 2], n = 'u', parent, n + 2 end
if hash ~= '' then h[n + 1], h[n + 2] = 'h', hash end
call(unpack(h))
call('SET', P .. 'd:' .. id, ARGV[4])
if caller then
  call('SADD', P .. 'kd:' .. parent, id)
  if not caller[3] then call('HSET', P .. 'j:' .. parent, 'c', '1') end
end

local count = move(proc, group, nil, status)
if count == 1 then call('SADD', P .. 'procs', proc) end
if status == 'w' then
  push(proc, group, id, false)
  -- A worker that is idle found no work at all: the first 64 that come have woken everyone.
  if count <= 64 then wake(proc) end
  return {'ok', count}
end
call('ZADD', P .. 'delayed', int(now_ms() + delay), id)
wake(proc)  -- whoever sleeps until something else is due must look again
if group ~= '' then call('SADD', P .. 'sy:' .. group, id) end
return {'ok', tonumber(call('HGET', P .. 'q:' .. proc, 'waiting')) or 0}
