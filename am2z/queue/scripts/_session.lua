--@include base
-- s:<group> field `stopped`: 1 while the work of the session is being dropped, 2 when none is left.
-- Answers 1, 2 or false; an execution without a session cannot be stopped that way.
local function stopped(group)
  return group ~= '' and call('HGET', P .. 's:' .. group, 'stopped')
end
