-- Read many runs, and the server's clock, in one short reply.
--
-- KEYS  none
-- ARGV  1 run prefix   2 folded run ids (msgpack)
-- Answers msgpack, flat: seconds, microseconds, then per run { version, state, report's digest, commit id }. Version false
-- means that the run is not open or, where a text stands for the state, that its key cannot be read and why.

local answer = redis.call('TIME')
local n = 2
for _, run in ipairs(cmsgpack.unpack(ARGV[2])) do
  local held = redis.pcall('HMGET', ARGV[1] .. run, 'v', 's', 'd', 'c')
  if held.err then held = { false, held.err, false, false } end
  answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4] = held[1], held[2], held[3], held[4]
  n = n + 4
end
return cmsgpack.pack(answer)
