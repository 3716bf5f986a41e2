-- Says into how many shards the namespace is divided. Who says it first decides. Safe to send again.
-- KEYS  prefix
-- ARGV  shards
-- Answers the number that stands
--@include base
local key = P .. 'shards'
call('SET', key, ARGV[1], 'NX', 'PX', '604800000')  -- presence keeps it alive
return tonumber(call('GET', key)) or 0
