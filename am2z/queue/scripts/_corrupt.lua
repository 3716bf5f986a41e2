--@include finish
-- Whether an execution is where its status says.
local function is_placed(id, status, proc, group)
  if status == 'a' then return call('ZSCORE', P .. 'leases', id) end
  if status == 'y' then return call('ZSCORE', P .. 'delayed', id) end
  return call('LPOS', P .. 'w:' .. proc .. ':' .. group, id)
end
-- Sets aside an execution whose record others broke: whoever waits for it is told, and it becomes a dead
-- letter. `was` is the status of the place where it was found; proc and group are known in some places.
-- Answers false where so little is left that there is nobody to tell.
local function set_aside(id, was, proc, group, ttl)
  if call('EXISTS', P .. 'j:' .. id) == 0 then return false end
  local v = call('HMGET', P .. 'j:' .. id, 'p', 's', 'o', 'n', 'u', 'c')
  proc, group = proc or v[1], group or v[2] or ''
  if not proc then
    call('DEL', P .. 'j:' .. id, P .. 'd:' .. id)
    return false
  end
  local n = was == 'a' and '1' or is_count(v[4] or '') and v[4]  -- whether it has ever begun
  local job = {p = proc, s = group, t = was, a = '1', n = n, o = v[3], u = v[5], c = v[6]}
  finish(id, job, 'F', 'corrupt', '', ttl)
  return true
end
