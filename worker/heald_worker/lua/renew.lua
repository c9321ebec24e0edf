-- Renew the lease of a claimed repair or notice: only while the run still stands at the claim's version.
--
-- KEYS  1 run (hash)   2 agenda
-- ARGV  1 the claim's version   2 lease (ms)   3 folded run id
-- Answers 1 when renewed, 0 when the claim is somebody else's or over, -1 when it has not begun yet.

local version = tonumber(redis.call('HGET', KEYS[1], 'v') or 0)
if version == ARGV[1] - 1 then return -1 end
if version ~= tonumber(ARGV[1]) then return 0 end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[3])
return 1
