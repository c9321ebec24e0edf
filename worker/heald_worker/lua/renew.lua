-- Renew the lease of a claimed repair: only while the run still stands where this very claim has put it.
--
-- KEYS  1 run (hash)   2 agenda
-- ARGV  1 the claim's commit id   2 lease (ms)   3 folded run id
-- Answers 1 when renewed, 0 when the claim is over, or somebody else's.

if redis.call('HGET', KEYS[1], 'c') ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], 'XX', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[3])
return 1
