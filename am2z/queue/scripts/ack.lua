-- Reports the end of a run and commits the session's state with it: both or neither, and once.
-- Safe to send again: the fence that finished an execution is remembered with its result.
-- KEYS  prefix
-- ARGV  id fence status(D|F) body result_ttl_ms event_data [state_data checksum type state_ttl_ms]
-- Answers {'ok', version} · {'already', version} (this fence did it) · {'lost'} · {'stopped'}
--       version: of the committed state, '0' without one
--@include finish
--@include session
--@include state
local id, fence, ttl = ARGV[1], ARGV[2], ARGV[5]
local job = read_job(id)
if not job then
  local past = recall(id)
  if not past then return {'lost'} end
  if past.fence == fence then return {'already', past.version} end
  return {past.why == 'stopped' and 'stopped' or 'lost'}
end
if job.t ~= 'a' or job.f ~= fence then return {'lost'} end
if stopped(job.s) then
  finish(id, job, 'F', 'stopped', '', ttl)
  return {'stopped'}
end
local version
if ARGV[7] and job.s ~= '' then version = commit(job.s, ARGV[7], ARGV[8], ARGV[9], ARGV[10]) end
finish(id, job, ARGV[3], '', ARGV[4], ttl, ARGV[6], version, fence)
return {'ok', version or '0'}
