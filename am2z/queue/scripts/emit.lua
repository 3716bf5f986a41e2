-- Publishes an event of a running execution, or of a runtime.
-- KEYS  prefix
-- ARGV  id ('': a runtime's event) fence type(progress|custom|runtime) name data progress ('': none)
-- Answers 'ok' · 'lost' (the execution does not run under that fence)
--@include event
local id = ARGV[1]
if id == '' then
  event(ARGV[3], nil, nil, nil, nil, ARGV[4], ARGV[5])
  return 'ok'
end
local v = call('HMGET', P .. 'j:' .. id, 't', 'f', 'p', 's', 'a')
if v[1] ~= 'a' or v[2] ~= ARGV[2] then return 'lost' end
if ARGV[6] ~= '' then call('HSET', P .. 'j:' .. id, 'g', ARGV[6]) end
event(ARGV[3], id, v[3], v[4], v[5] or '1', ARGV[4], ARGV[5])
return 'ok'
