-- Create a consumer group where there is none, with a true count of the entries that lie before it.
--
-- KEYS  1 stream
-- ARGV  1 group   2 id after which the group begins
-- Answers 1 when the group was created, 0 when it was there.
-- The server keeps such a count itself, but not for a group that begins before its first read; `group_take.lua` needs it
-- to tell what was trimmed. For a group that begins within the stream the count stays unknown until it reaches the end.

local function facts(flat)
  local named = {}
  for i = 1, #flat, 2 do named[flat[i]] = flat[i + 1] end
  return named
end

local function before(one, other)
  local ms, seq = string.match(one, '^(%d+)-(%d+)$')
  local other_ms, other_seq = string.match(other, '^(%d+)-(%d+)$')
  ms, seq, other_ms, other_seq = tonumber(ms), tonumber(seq), tonumber(other_ms), tonumber(other_seq)
  return ms < other_ms or (ms == other_ms and seq < other_seq)
end

local count = 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    if facts(flat).name == ARGV[1] then return 0 end
  end
  local stream = facts(redis.call('XINFO', 'STREAM', KEYS[1]))
  local first = stream['first-entry']
  if not before(ARGV[2], stream['last-generated-id']) then
    count = stream['entries-added']
  elseif not first or before(ARGV[2], first[1]) then
    count = stream['entries-added'] - stream['length']
  else
    count = -1
  end
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], ARGV[2], 'MKSTREAM', 'ENTRIESREAD', count)
return 1
