--@include finish
--@include session
--@include state
-- Takes the report of the end of a run from ARGV[i] on, and commits the session's state with it: both or
-- neither, and once. A report is
--   id fence status(D|F) body event_data state_data checksum type state_ttl_ms   (state_ttl_ms '': no state)
-- and the answer is 'ok <version>' · 'already <version>' (this fence did it before) · 'lost' · 'stopped',
-- with the version of the committed state, 0 without one.
local REPORT = 9
local function ack(i, ttl)
  local id, fence = ARGV[i], ARGV[i + 1]
  local job = read_job(id)
  if not job then
    local past = recall(id)
    if not past then return 'lost' end
    if past.fence == fence then return 'already ' .. past.version end
    return past.why == 'stopped' and 'stopped' or 'lost'
  end
  if job.t ~= 'a' or job.f ~= fence then return 'lost' end
  if stopped(job.s) then
    finish(id, job, 'F', 'stopped', '', ttl)
    return 'stopped'
  end
  local version = '0'
  if ARGV[i + 8] ~= '' and job.s ~= '' then
    version = commit(job.s, ARGV[i + 5], ARGV[i + 6], ARGV[i + 7], ARGV[i + 8])
  end
  finish(id, job, ARGV[i + 2], '', ARGV[i + 3], ttl, ARGV[i + 4], version, fence)
  return 'ok ' .. version
end
-- The answers to all reports from ARGV[first] on.
local function ack_all(first, ttl)
  local answers = {}
  for i = first, #ARGV, REPORT do answers[#answers + 1] = ack(i, ttl) end
  return answers
end
