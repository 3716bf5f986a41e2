--@include base
-- The stream of events, bounded. Fields: t type, i execution, p processor, s session, a attempt,
-- n name, d data, y why; empty ones are left out.
local function record(kind, ...)
  return call('XADD', P .. 'events', 'MAXLEN', '~', '10000', '*', 't', kind, ...)
end
-- Records an event of an execution and answers its id.
local function event(kind, id, job, data, why)
  local a, n = {'i', id, 'p', job.p}, 4
  if job.s ~= '' then a[5], a[6], n = 's', job.s, 6 end
  if job.n then a[n + 1], a[n + 2], n = 'a', job.a, n + 2 end
  if data and data ~= '' then a[n + 1], a[n + 2], n = 'd', data, n + 2 end
  if why and why ~= '' then a[n + 1], a[n + 2] = 'y', why end
  return record(kind, unpack(a))
end
