-- Read many runs, and the server's clock, in one short reply.
--
-- KEYS  none
-- ARGV  1 run prefix   2 folded run ids (msgpack)
-- Answers msgpack, flat: seconds, microseconds, then per run { version, state, report's digest, commit id, what is fixed }.
-- Version false
-- means that the run is not open or, where a text stands for the state, that its key cannot be read and why.

local answer = redis.call('TIME')
local n = 2
for _, run in ipairs(cmsgpack.unpack(ARGV[2])) do
  local held = redis.pcall('HMGET', ARGV[1] .. run, 'v', 's', 'd', 'c', 'i')
  if held.err then held = { false, held.err, false, false, false } end
  for i = 1, 5 do answer[n + i] = held[i] end
  n = n + 5
end
return cmsgpack.pack(answer)
