-- Lists the sessions that exist and are not being stopped.
-- KEYS  prefix
-- Answers groups
--@include base
return call('ZRANGEBYSCORE', P .. 'sessions', '(0', '+inf')
