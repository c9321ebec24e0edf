-- Give a parked run back to the service: off the list of parked runs, due now on the agenda, with all its tries again.
--
-- KEYS  1 run (hash)   2 agenda   3 parked (hash)   4 events
-- ARGV  1 folded run id   2 facts (JSON)   3 oldest event to keep (ms of age)
-- Answers 'resumed', 'not_parked', or 'gone' (it was parked, but there is no run any more).

local version = redis.call('HGET', KEYS[1], 'v')
if redis.call('HDEL', KEYS[3], ARGV[1]) == 0 then return 'not_parked' end
if not version then return 'gone' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[2], now, ARGV[1])
redis.call('HDEL', KEYS[1], 'n', 'f')
local id = redis.pcall('XADD', KEYS[4], 'MINID', '~', string.format('%d', now - ARGV[3]), '*',
  'run', ARGV[1], 'kind', 'resumed', 'version', version, 'facts', ARGV[2])
if type(id) == 'string' then
  local ids = redis.call('HGET', KEYS[1], 'e')
  redis.call('HSET', KEYS[1], 'e', ids and ids ~= '' and (ids .. ' ' .. id) or id)
end
return 'resumed'
