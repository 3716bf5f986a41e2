-- One turn of a worker: reports how runs ended, and takes as much again. It gets waiting executions, each
-- under a lease and a fence of its own. Delayed ones that are due are promoted first; of each processor
-- the sessions take turns; work of stopped sessions and of parents that are gone is finished on the way.
-- KEYS  prefix
-- ARGV  runtime lease_ms result_ttl_ms total wanted {processor max} … (as many as wanted, in order of
--       preference) {report} … (see _ack.lua)
-- Answers {{one word for each report}, ms until there may be more: 0 where more waits, else until the next
--       delayed one is due, or -1,
--       {id, fence, attempt, deliveries, processor, group, payload} …}
--@include time
--@include event
--@include count
--@include queue
--@include fence
--@include session
--@include job
local runtime, total, wants = ARGV[1], tonumber(ARGV[4]), 5 + 2 * tonumber(ARGV[5])
local expiry = int(now_ms() + tonumber(ARGV[2]))
local answer, leases = {{}, -1}, {'ZADD', P .. 'leases'}
local keys, idle, taken, looks = {}, {}, 0, 1000  -- a script skips only so many ids that wait no longer
local fence

if ARGV[wants + 1] then
  --@include ack
  answer[1] = ack_all(wants + 1, ARGV[3])
end

if call('EXISTS', P .. 'delayed') == 1 then
  --@include promote
  local _, due = promote('100')
  answer[2] = due
end

local function drop(id, why, proc, group)
  --@include corrupt
  local job = why ~= 'corrupt' and read_job(id)
  if job then finish(id, job, 'F', why, '', ARGV[3]) else set_aside(id, 'w', proc, group, ARGV[3]) end
end

-- Whether it was taken just now; its lease is written at the end.
local function is_taken(id)
  for i = 4, #leases, 2 do
    if leases[i] == id then return true end
  end
end

local function take(id, proc, group)
  local key = P .. 'j:' .. id
  local v = call('HMGET', key, 't', 'n', 'a', 'u', 'p', 's')
  local status, n, attempt = v[1], v[2] or '0', v[3] or '1'
  local why
  if not (STATUS[status] and v[5] and is_count(n) and is_count(attempt)) then
    why = 'corrupt'  -- or gone: then there is nothing to set aside
  elseif status ~= 'w' or v[5] ~= proc or (v[6] or '') ~= group then
    -- the id came again, for something else, or somebody broke the record
    --@include corrupt
    if is_taken(id) or is_placed(id, status, v[5], v[6] or '') then return 0 end
    why = 'corrupt'
  elseif stopped(group) then why = 'stopped' end
  if not why and v[4] and call('EXISTS', P .. 'j:' .. v[4]) == 0 then why = 'orphan' end
  if why then
    drop(id, why, proc, group)
    return 0
  end
  fence = fence and fence + 1 or take_fences(total)
  taken = taken + 1
  local f = int(fence)
  n = int(tonumber(n) + 1)
  call('HSET', key, 't', 'a', 'n', n, 'f', f, 'k', runtime)
  if group ~= '' then call('SADD', P .. 'sj:' .. group, id) end
  leases[2 * taken + 1] = expiry
  leases[2 * taken + 2] = id
  move(proc, group, 'w', 'a')
  event('active', id, {p = proc, s = group, n = n, a = attempt})
  answer[taken + 2] = {id, f, attempt, n, proc, group}
  keys[taken] = P .. 'd:' .. id
  return 1
end

for i = 6, wants, 2 do
  local proc, left = ARGV[i], math.min(tonumber(ARGV[i + 1]), total - taken)
  local ready, empty = P .. 'ready:' .. proc, false
  while left > 0 and looks > 0 do
    local groups = call('RPOP', ready, left)
    if not groups then
      empty = true
      break
    end
    -- The ring is made whole again before anything is looked at, because a drop may change the lists.
    -- A group that is alone in it need not wait for its next turn.
    local share = #groups == 1 and left or 1
    local back, picked = {'LPUSH', ready}, {}
    for _, group in ipairs(groups) do
      local list = P .. 'w:' .. proc .. ':' .. group
      for _, id in ipairs(call('RPOP', list, share) or {}) do picked[#picked + 1] = {id, group} end
      if call('EXISTS', list) == 1 then back[#back + 1] = group end
    end
    if back[3] then call(unpack(back)) end
    for _, pick in ipairs(picked) do left = left - take(pick[1], proc, pick[2]) end
    looks = looks - #groups - #picked
  end
  -- No work: no tokens, or an idle worker would be woken for nothing. Work left: at least one token,
  -- because the worker that took the last one may have been for another processor, or died.
  if empty or call('EXISTS', ready) == 0 then idle[#idle + 1] = P .. 'wake:' .. proc
  else
    if taken >= total then answer[2] = 0 end
    if call('EXISTS', P .. 'wake:' .. proc) == 0 then wake(proc) end
  end
  if taken >= total then break end
end
in_pieces('DEL', idle[1], idle)  -- naming the first one twice does no harm
if taken > 0 then
  call(unpack(leases))
  for n, payload in ipairs(call('MGET', unpack(keys))) do
    answer[n + 2][7] = payload or ''  -- '' where it was lost
  end
end
return settle(answer)
