-- Hands waiting executions to a worker, each under a lease and a fence of its own. Delayed ones that are
-- due are promoted first; of each processor the sessions take turns; work of stopped sessions and of
-- parents that are gone is finished on the way.
-- KEYS  prefix
-- ARGV  runtime lease_ms result_ttl_ms total processor max [processor max …] (in order of preference)
-- Answers {ms until the next delayed one is due or -1,
--       {id, fence, attempt, deliveries, processor, group, payload} …}
--@include finish
--@include fence
--@include promote
--@include session
local runtime, ttl, total = ARGV[1], ARGV[3], tonumber(ARGV[4])
local expiry = int(now_ms() + tonumber(ARGV[2]))
local _, due = promote(100)
local answer, leases = {due}, {'ZADD', P .. 'leases'}
local fence
local looks = 1000  -- ids that wait no longer are skipped, but one script skips only so many

-- True if nobody can want this execution any more; it is finished then.
local function dropped(id, job)
  if stopped(job.s) then
    finish(id, job, 'F', 'stopped', '', ttl)
    return true
  end
  if job.u then
    local parent = call('HGET', P .. 'j:' .. job.u, 't')
    if not parent or parent == 'D' or parent == 'F' then
      finish(id, job, 'F', 'orphan', '', ttl)
      return true
    end
  end
  return false
end

local function take(id, job)
  fence = fence and fence + 1 or take_fences(total)
  local f, n = int(fence), int(tonumber(job.n or '0') + 1)
  call('HSET', P .. 'j:' .. id, 't', 'a', 'n', n, 'f', f, 'k', runtime)
  if job.s ~= '' then call('SADD', P .. 'sj:' .. job.s, id) end
  leases[#leases + 1] = expiry
  leases[#leases + 1] = id
  move(job.p, job.s, 'w', 'a', 1)
  event('active', id, job.p, job.s, job.a)
  answer[#answer + 1] = {id, f, job.a, n, job.p, job.s, call('GET', P .. 'd:' .. id) or ''}
end

for i = 5, #ARGV, 2 do
  local proc, left = ARGV[i], tonumber(ARGV[i + 1])
  local ready, empty = P .. 'ready:' .. proc, false
  while left > 0 and #answer <= total and looks > 0 do
    local group = call('RPOP', ready)
    if not group then
      empty = true
      break
    end
    looks = looks - 1
    local list = P .. 'w:' .. proc .. ':' .. group
    local id = call('RPOP', list)
    if call('EXISTS', list) == 1 then call('LPUSH', ready, group) end
    local job = id and load(id)
    if job and job.t == 'w' and not dropped(id, job) then
      take(id, job)
      left = left - 1
    end
  end
  -- No work: no tokens, or an idle worker would be woken for nothing. Work left: at least one token,
  -- because the worker that took the last one may have been for another processor, or died.
  if empty or call('EXISTS', ready) == 0 then call('DEL', P .. 'wake:' .. proc)
  elseif call('EXISTS', P .. 'wake:' .. proc) == 0 then wake(proc) end
  if #answer > total then break end
end
if leases[3] then call(unpack(leases)) end
return answer
