-- Put dead letters back into the inbox: each body is appended, then its letter is deleted.
--
-- KEYS  1 dead letters   2 inbox
-- ARGV  ids of dead letters
-- Answers, per id: 'replayed', 'not_whole' (only the report's beginning was kept, so the letter stays) or 'gone'.
-- Repeated (its reply was lost) it finds the letters gone and appends nothing twice.

local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'none' and kind ~= 'list' then
  return redis.error_reply('WRONGTYPE ' .. KEYS[2] .. ' holds a ' .. kind .. ', not a list')
end

local function replay(id)
  local letter = redis.call('XRANGE', KEYS[1], id, id)[1]
  if not letter then return 'gone' end
  local fields = {}
  for i = 1, #letter[2], 2 do fields[letter[2][i]] = letter[2][i + 1] end
  if fields.whole ~= '1' or not fields.body then return 'not_whole' end
  redis.call('RPUSH', KEYS[2], fields.body)
  redis.call('XDEL', KEYS[1], id)
  return 'replayed'
end

local answers = {}
for i, id in ipairs(ARGV) do answers[i] = replay(id) end
return answers
