-- Accepts an execution, once for each id: a repeat registers one more waiter and changes nothing else.
-- KEYS  prefix
-- ARGV  id processor group payload delay_ms max_deliveries reply_to max_queue need_served
--       parent parent_fence call_hash
-- Answers {'ok', waiting} · {'exists'} · {'finished', entry} · {'stopped'} · {'full', waiting}
--       · {'unserved'} · {'orphan'} (the parent does not run under that fence) · {'mismatch'} (the id is
--       known, with another processor, session or call_hash)
--@include finish
--@include session
local id, proc, group, reply_to = ARGV[1], ARGV[2], ARGV[3], ARGV[7]
local delay, max_queue, parent, hash = tonumber(ARGV[5]), tonumber(ARGV[8]), ARGV[10], ARGV[12]
local key, now = P .. 'j:' .. id, now_ms()

if parent ~= '' then
  local v = call('HMGET', P .. 'j:' .. parent, 't', 'f')
  if v[1] ~= 'a' or v[2] ~= ARGV[11] then return {'orphan'} end
end

local known = call('HMGET', key, 't', 'h', 'o', 'y', 'v', 'e', 'p', 's')
if known[1] then
  local same = known[7] == proc and (known[8] or '') == group and (known[2] or '') == hash
  if not same then return {'mismatch'} end
  if known[1] == 'D' or known[1] == 'F' then
    local body = call('GET', P .. 'd:' .. id) or ''
    return {'finished', entry(id, known[1], known[4], known[5], known[6], body)}
  end
  if reply_to ~= '' then
    local waiters = known[3] or ''
    if not string.find(' ' .. waiters .. ' ', ' ' .. reply_to .. ' ', 1, true) then
      call('HSET', key, 'o', waiters == '' and reply_to or waiters .. ' ' .. reply_to)
    end
  end
  return {'exists'}
end

local session = group ~= '' and call('HMGET', P .. 's:' .. group, 'stopped', 'created')
if session and session[1] then return {'stopped'} end
if ARGV[9] == '1' and call('ZCOUNT', P .. 'served:' .. proc, '(' .. int(now), '+inf') == 0 then
  return {'unserved'}
end
if max_queue > 0 then
  local waiting = tonumber(call('HGET', P .. 'q:' .. proc, 'waiting') or '0')
  if waiting >= max_queue then return {'full', waiting} end
end

if session then
  if not session[2] then
    call('HSET', P .. 's:' .. group, 'created', int(now))
    event('created', nil, nil, group)
  end
  call('ZADD', P .. 'sessions', int(now), group)
end
local status = delay > 0 and 'y' or 'w'
local h = {'HSET', key, 'p', proc, 't', status, 'x', ARGV[6]}
local function add(field, value)
  if value ~= '' then h[#h + 1] = field h[#h + 1] = value end
end
add('s', group) add('o', reply_to) add('u', parent) add('h', hash)
call(unpack(h))
call('SET', P .. 'd:' .. id, ARGV[4])
if parent ~= '' then call('SADD', P .. 'kd:' .. parent, id) end

local count = move(proc, group, '', status, 1)
if count == 1 then call('SADD', P .. 'procs', proc) end
if status == 'w' then
  push(proc, group, id, false)
  return {'ok', count}
end
call('ZADD', P .. 'delayed', int(now + delay), id)
if group ~= '' then call('SADD', P .. 'sj:' .. group, id) end
return {'ok', tonumber(call('HGET', P .. 'q:' .. proc, 'waiting') or '0')}
