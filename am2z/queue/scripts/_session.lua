--@include base
-- s:<group> field `stopped`: 1 while the work of the session is being dropped, 2 when none is left. Those
-- with a 1 have the score 0 in `sessions`; nearly always there are none, which one look per script tells.
local is_any_stopping
-- Answers 1, 2 or false; an execution without a session cannot be stopped that way. Only a session with
-- live executions may be asked for: where there are none, a 2 need not be seen.
local function stopped(group)
  if group == '' then return false end
  if is_any_stopping == nil then
    is_any_stopping = call('ZCOUNT', P .. 'sessions', '0', '0') > 0
  end
  return is_any_stopping and call('HGET', P .. 's:' .. group, 'stopped')
end
