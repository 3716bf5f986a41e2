--@include base
-- What costs less when it is done together: a script gathers it, and writes it with settle(), the last
-- thing that it does. Nothing reads it in between.
local sums, unleased, mail, used = {}, {}, {}, {}

-- Adds n to a field of a hash of counters.
local function add(key, field, n)
  local fields = sums[key]
  if not fields then
    fields = {}
    sums[key] = fields
  end
  fields[field] = (fields[field] or 0) + n
end

-- Something happened in a session at that time.
local function use(group, now) used[group] = now end

local function post(runtime, text)
  local texts = mail[runtime]
  if texts then texts[#texts + 1] = text else mail[runtime] = {text} end
end

-- A command with any number of arguments, in pieces: Lua passes only some thousands at once.
local function in_pieces(command, key, list)
  local reply
  for i = 1, #list, 1000 do
    reply = call(command, key, unpack(list, i, math.min(i + 999, #list)))
  end
  return reply
end

local function settle(answer)
  for key, fields in pairs(sums) do
    for field, n in pairs(fields) do
      if n ~= 0 then call('HINCRBY', key, field, int(n)) end
    end
  end
  in_pieces('ZREM', P .. 'leases', unleased)
  local groups = {}
  for group, now in pairs(used) do
    groups[#groups + 1] = now
    groups[#groups + 1] = group
  end
  -- XX: a session that was stopped or forgotten is not listed again
  if groups[1] then call('ZADD', P .. 'sessions', 'XX', unpack(groups)) end
  for runtime, texts in pairs(mail) do
    local inbox = P .. 'in:' .. runtime
    -- A runtime that is alive renews its inbox; that of a dead one goes after ten minutes.
    if in_pieces('RPUSH', inbox, texts) == #texts then call('PEXPIRE', inbox, '600000') end
  end
  return answer
end
