-- Writes the state of a session, if what is there is what its caller expects.
-- KEYS  prefix
-- ARGV  group data checksum type ttl_ms (> 0 sets it, 0 removes it, < 0 keeps it) expected ('': any, 0: absent)
--       seen (the checksum that is there; '': any)
-- Answers {1, new version} · {0, present version}
--@include state
local now = call('HMGET', P .. 'st:' .. ARGV[1], 'v', 'sum')
local current = now[1] or '0'
if ARGV[6] ~= '' and ARGV[6] ~= current then return {0, current} end
if ARGV[7] ~= '' and ARGV[7] ~= now[2] then return {0, current} end
return {1, commit(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])}
