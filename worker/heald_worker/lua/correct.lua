-- Set the class of a fingerprint, as a person says, and tell it as an event of the run that the person looked at.
--
-- KEYS  1 corrections   2 events   3 the run
-- ARGV  1 fingerprint   2 correction (JSON)   3 most corrections   4 folded run id   5 facts (JSON)
--       6 oldest event to keep (ms of age)
-- Answers 'corrected', or 'full' when there are that many others; nothing was written then.

local new = redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0
if new and redis.call('HLEN', KEYS[1]) - redis.call('HEXISTS', KEYS[1], 'version') >= tonumber(ARGV[3]) then return 'full' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'version', 1)
local time = redis.call('TIME')
local oldest = string.format('%d', time[1] * 1000 - ARGV[6])
local id = redis.pcall('XADD', KEYS[2], 'MINID', '~', oldest, '*',
  'run', ARGV[4], 'kind', 'corrected', 'version', '0', 'facts', ARGV[5])
local seen = redis.pcall('HGET', KEYS[3], 'e')
if type(id) == 'string' and type(seen) == 'string' then redis.call('HSET', KEYS[3], 'e', seen .. ' ' .. id) end
return 'corrected'
