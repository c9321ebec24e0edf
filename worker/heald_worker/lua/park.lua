-- Note that a run could not be advanced. After several failures with no step in between it is parked: off the agenda, on
-- the list that `heald doctor` shows.
--
-- KEYS  1 run (hash)   2 agenda   3 parked (hash)   4 events
-- ARGV  1 expected version   2 folded run id   3 reason   4 facts (JSON)   5 the failure that parks it
-- Answers 1 when parked, 0 when it is to be tried again or the run has moved.

if redis.call('HGET', KEYS[1], 'v') ~= ARGV[1] then return 0 end
if redis.call('HINCRBY', KEYS[1], 'f', 1) < tonumber(ARGV[5]) then return 0 end
redis.call('HSET', KEYS[3], ARGV[2], ARGV[3])
redis.call('ZREM', KEYS[2], ARGV[2])
local id = redis.call('XADD', KEYS[4], '*', 'run', ARGV[2], 'kind', 'parked', 'version', ARGV[1], 'facts', ARGV[4])
local ids = redis.call('HGET', KEYS[1], 'e')
redis.call('HSET', KEYS[1], 'e', ids and ids ~= '' and (ids .. ' ' .. id) or id)
return 1
