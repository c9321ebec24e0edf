-- Take a batch of nudges off one RQ queue and mark their jobs as started, as RQ does one by one.
--
-- KEYS  1 the queue's list   2 its started registry   3 paused
-- ARGV  1 most nudges   2 job key prefix   3 worker's name   4 now (RQ's text form)   5 execution id   6 life of a mark (s)
-- Answers msgpack of { id, data, id, data... }. A job without its hash is dropped: the agenda sends its nudge again. A batch
-- whose worker dies here, or whose reply is lost, comes back the same way.

local taken, marks = {}, {}
if redis.call('EXISTS', KEYS[3]) == 1 then return cmsgpack.pack(taken) end
local ids = redis.call('LPOP', KEYS[1], ARGV[1])
if not ids then return cmsgpack.pack(taken) end
local until_, prefix, worker = redis.call('TIME')[1] + ARGV[6], ARGV[2], ARGV[3]
local now, mark = ARGV[4], ':' .. ARGV[5]
local n, m = 0, 0
for _, id in ipairs(ids) do
  local key = prefix .. id
  local data = redis.pcall('HGET', key, 'data')
  if type(data) == 'string' then
    redis.call('HSET', key, 'status', 'started', 'worker_name', worker, 'started_at', now, 'last_heartbeat', now)
    taken[n + 1], taken[n + 2] = id, data
    marks[m + 1], marks[m + 2] = until_, id .. mark
    n, m = n + 2, m + 2
  end
end
if m > 0 then redis.pcall('ZADD', KEYS[2], unpack(marks)) end -- for RQ's tools alone
return cmsgpack.pack(taken)
