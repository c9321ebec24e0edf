-- Take the correction of a fingerprint back, and tell it as an event of the run that it was made about.
--
-- KEYS  1 corrections   2 events
-- ARGV  1 fingerprint   2 folded run id   3 facts (JSON)   4 oldest event to keep (ms of age)
-- Answers 1, or 0 when there is no such correction.

if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[1], 'version', 1)
local time = redis.call('TIME')
local oldest = string.format('%d', time[1] * 1000 - ARGV[4])
redis.pcall('XADD', KEYS[2], 'MINID', '~', oldest, '*',
  'run', ARGV[2], 'kind', 'uncorrected', 'version', '0', 'facts', ARGV[3])
return 1
