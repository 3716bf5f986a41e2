-- Publishes an event of a running execution, or of a runtime.
-- KEYS  prefix
-- ARGV  id ('': a runtime's event) fence type(progress|custom|runtime) name data progress ('': none)
-- Answers 'ok' · 'lost' (the execution does not run under that fence)
--@include event
local id, kind, name, data = ARGV[1], ARGV[3], ARGV[4], ARGV[5]
if id == '' then
  record(kind, 'n', name, 'd', data)
  return 'ok'
end
local v = call('HMGET', P .. 'j:' .. id, 't', 'f', 'p', 's', 'a')
if v[1] ~= 'a' or v[2] ~= ARGV[2] then return 'lost' end
if ARGV[6] ~= '' then call('HSET', P .. 'j:' .. id, 'g', ARGV[6]) end
local a = {'i', id, 'p', v[3], 'a', v[5] or '1'}
for field, value in pairs({s = v[4] or '', n = name, d = data}) do
  if value ~= '' then a[#a + 1] = field a[#a + 1] = value end
end
record(kind, unpack(a))
return 'ok'
