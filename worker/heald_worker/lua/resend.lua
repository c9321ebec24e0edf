-- Send nudges again for runs that still wait for them.
--
-- KEYS  1 run (hash)   2 the queue's list
-- ARGV  1 expected version   2 job key   3 job id   4 life (s)   5... field, value...
-- Answers 'sent', 'queued' (the nudge still stands in its queue: nothing was lost), or 'moved'.

if redis.call('HGET', KEYS[1], 'v') ~= ARGV[1] then return 'moved' end
local status = redis.pcall('HGET', ARGV[2], 'status')
if type(status) == 'table' then redis.call('DEL', ARGV[2]) end -- no job stood there
if status == 'queued' and redis.call('LPOS', KEYS[2], ARGV[3]) then return 'queued' end
redis.call('HSET', ARGV[2], unpack(ARGV, 5))
redis.call('EXPIRE', ARGV[2], ARGV[4])
redis.pcall('SADD', 'rq:queues', KEYS[2])
redis.call('RPUSH', KEYS[2], ARGV[3])
return 'sent'
