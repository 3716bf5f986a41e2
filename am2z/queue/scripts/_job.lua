--@include base
-- A live execution is the hash j:<id>, kept small so that Redis packs it tightly, and its payload is the
-- string d:<id>, because one long field would unpack the whole hash.
--   p processor · s session (encoded; absent: none) · t status: w waiting, y delayed, a active
--   x deliveries allowed for an attempt · n deliveries of this attempt (present as soon as it has once
--   been active) · a attempt (absent: 1) · f fence (kept by a nack, so that a repeated nack is known)
--   k the runtime that works on it · o runtimes that wait for it (separated by blanks) · u parent
--   h hash of the call · c 1 if it has called others · g progress
-- A finished one is only the string r:<id>; see _result.lua.

-- The payload; '' where it was lost.
local function read_payload(id) return call('GET', P .. 'd:' .. id) or '' end

local STATUS = {w = true, y = true, a = true}

-- nil for an unknown execution, and for a record that others broke.
local function read_job(id)
  local v = call('HMGET', P .. 'j:' .. id, 'p', 's', 't', 'f', 'n', 'a', 'x', 'k', 'o', 'u', 'h', 'c')
  if not v[1] or not STATUS[v[3]] then return nil end
  for _, count in ipairs({v[5] or '0', v[6] or '1', v[7] or ''}) do
    if not is_count(count) then return nil end
  end
  if v[3] == 'a' and not (v[4] and v[5] and v[8]) then return nil end
  return {p = v[1], s = v[2] or '', t = v[3], f = v[4], n = v[5], a = v[6] or '1', x = v[7],
          k = v[8], o = v[9], u = v[10], h = v[11], c = v[12]}
end
