-- Take the next entries of a consumer group, and tell how many were trimmed before the group read them.
--
-- KEYS  1 stream
-- ARGV  1 group   2 consumer   3 most entries   4 the number that the caller has told
-- Answers { trimmed unread (-1: some, nobody knows how many), the group's position before, id of the oldest entry or '',
--           entries { { id, { field, value... } }... } }. The entries are pending with the consumer until it acknowledges.
-- Nothing but trimming removes entries of heald's streams, so what is gone before the oldest entry and was not counted
-- as read is lost to the group. Taking entries wipes that out, so nothing is taken before the caller says that it has told
-- the number: a lost reply hides no loss. The count is set right then, as servers before Redis 7.2 leave it wrong.

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

local group
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local each = facts(flat)
    if each.name == ARGV[1] then group = each end
  end
end
if not group then return redis.error_reply('NOGROUP ' .. KEYS[1] .. ' has no consumer group ' .. ARGV[1]) end

local stream = facts(redis.call('XINFO', 'STREAM', KEYS[1]))
local first, position = stream['first-entry'] and stream['first-entry'][1] or '', group['last-delivered-id']
local removed, missed = stream['entries-added'] - stream['length'], 0
local oldest = first ~= '' and first or stream['last-generated-id']
if removed > 0 and before(position, oldest) then
  local read = group['entries-read']
  missed = read and math.max(0, removed - read) or -1
  if missed ~= tonumber(ARGV[4]) then return { missed, position, first, {} } end
  if missed ~= 0 then redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], position, 'ENTRIESREAD', removed) end
end

local reply = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', ARGV[3], 'STREAMS', KEYS[1], '>')
return { missed, position, first, reply and reply[1][2] or {} }
