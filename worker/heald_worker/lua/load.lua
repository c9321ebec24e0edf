-- Read many runs, and the server's clock, in one short reply.
--
-- KEYS  none
-- ARGV  1 run prefix   2 folded run ids (msgpack)
-- Answers msgpack, flat: seconds, microseconds, then per run { version, state, report's digest, commit id, what is fixed,
-- what its commit's job has spent (JSON) or false, the verdict that waits for it (JSON) or false, its claim, until when (ms) }.
-- Version false means that the run is not open or, where a text stands for the state, that its key cannot be read and why.

local function spent(key)
  local record = redis.pcall('HGETALL', key)
  if record.err or #record == 0 then return false end
  local fields = {}
  for i = 1, #record, 2 do fields[record[i]] = record[i + 1] end
  return cjson.encode(fields)
end

local answer = redis.call('TIME')
local n = 2
for _, run in ipairs(cmsgpack.unpack(ARGV[2])) do
  local held = redis.pcall('HMGET', ARGV[1] .. run, 'v', 's', 'd', 'c', 'i', 'b', 'w', 'l', 'u')
  if held.err then held = { false, held.err, false, false, false, false, false, false, false } end
  held[6] = held[6] and held[6] ~= '' and spent(held[6])
  for i = 1, 9 do answer[n + i] = held[i] end
  n = n + 9
end
return cmsgpack.pack(answer)
