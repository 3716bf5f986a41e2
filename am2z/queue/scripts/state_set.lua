-- Writes the state of a session, if it still has the expected version.
-- KEYS  prefix
-- ARGV  group data checksum type ttl_ms (> 0 sets it, 0 removes it, < 0 keeps it) expected ('': any, 0: absent)
-- Answers {1, new version} · {0, present version}
--@include state
local current = call('HGET', P .. 'st:' .. ARGV[1], 'v') or '0'
if ARGV[6] ~= '' and ARGV[6] ~= current then return {0, current} end
return {1, commit(ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])}
