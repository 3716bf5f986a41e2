--@include base
-- A finished execution is the string r:<id>, with a time to live:
--   <fence that finished it or -> <hash of the call or -> <processor> <session or -> <entry>
-- and an entry, the one form in which its end is told, is
--   <id> <status D or F> <why or -> <version of the committed state or 0> <event id> =<body>
-- In inboxes a body longer than LONG is left out: `*` stands in the place of `=<body>`.
local LONG = 65536

-- What is remembered of an execution; nil if nothing is, or nothing that can be read.
local function recall(id)
  local text = call('GET', P .. 'r:' .. id)
  if not text then return nil end
  local _, stop, fence, hash, proc, group = string.find(text, '^(%S+) (%S+) (%S+) (%S+) ')
  if not stop then return nil end
  local entry = string.sub(text, stop + 1)
  local _, head, status, why, version = string.find(entry, '^%S+ ([DF]) (%S+) (%d+) %S+ =')
  if not head then return nil end
  head = head - 1
  local short = #entry - head > LONG + 1 and string.sub(entry, 1, head) .. '*' or entry
  return {fence = fence, hash = hash, proc = proc, group = group, status = status, why = why,
          version = version, entry = entry, short = short}
end
