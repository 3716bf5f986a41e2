-- Moves delayed executions that are due to their lists. Claims do it too; this is for maintenance.
-- Safe to send again.
-- KEYS  prefix
-- ARGV  limit
-- Answers {promoted, ms until the next one is due or -1}
--@include promote
local n, due = promote(tonumber(ARGV[1]))
return settle({n, due})
