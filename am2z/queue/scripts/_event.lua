--@include base
-- Adds one event to the bounded stream and answers its id. Empty fields are left out.
-- Fields: t type, i execution, p processor, s session, a attempt, n name, d data, y why.
local function event(kind, id, proc, group, attempt, name, data, why)
  local a, n = {'XADD', P .. 'events', 'MAXLEN', '~', '10000', '*', 't', kind}, 8
  local function add(field, value)
    if value and value ~= '' then a[n + 1] = field a[n + 2] = value n = n + 2 end
  end
  add('i', id) add('p', proc) add('s', group) add('a', attempt)
  add('n', name) add('d', data) add('y', why)
  return call(unpack(a))
end
