-- Renew the lease of a claimed repair or notice: only while the run's lease is this very claim's.
--
-- KEYS  1 run (hash)   2 agenda
-- ARGV  1 the claim's commit id   2 lease (ms)   3 folded run id   4 '1' of a repair, '' of a notice
-- Answers 1 when renewed, 0 when the claim is over, or somebody else's. The run's place on the agenda moves along with a
-- repair. With a notice it may stand for something earlier, the artifact, and so is left alone.

if redis.call('HGET', KEYS[1], 'l') ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
local ends = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2])
redis.call('HSET', KEYS[1], 'u', ends)
if ARGV[4] == '1' then redis.call('ZADD', KEYS[2], 'XX', ends, ARGV[3]) end
return 1
