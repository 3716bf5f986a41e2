-- Names the dead letters, newest first. Those whose time has passed are taken off the list.
-- Safe to send again.
-- KEYS  prefix
-- ARGV  [id] (only this one)
-- Answers {{id, time of the end in ms, processor, session ('': none), payload, body, why} …}
--@include base
local ids = {ARGV[1]}
if not ARGV[1] then ids = call('ZREVRANGE', P .. 'dead', '0', '-1') end
local answer = {}
for _, id in ipairs(ids) do
  local time = call('ZSCORE', P .. 'dead', id)
  local v = call('HMGET', P .. 'x:' .. id, 'p', 's', 'd', 'r', 'y')
  if time and v[1] then
    answer[#answer + 1] = {id, time, v[1], v[2] or '', v[3] or '', v[4] or '', v[5] or ''}
  elseif time then
    call('ZREM', P .. 'dead', id)
  end
end
return answer
