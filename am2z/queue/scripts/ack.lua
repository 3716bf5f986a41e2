-- Reports how runs ended, where nothing is to be claimed with it. Safe to send again: the fence that
-- finished an execution is remembered with its result.
-- KEYS  prefix
-- ARGV  result_ttl_ms {report} …  (see _ack.lua)
-- Answers one word for each report, in order
--@include ack
return settle(ack_all(2, ARGV[1]))
