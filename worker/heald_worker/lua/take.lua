-- Take a batch of nudges off one RQ queue and mark their jobs as started, as RQ does one by one.
--
-- KEYS  1 the queue's list   2 its started registry   3 paused
-- ARGV  1 most nudges   2 job key prefix   3 worker's name   4 now (RQ's text form)   5 execution id   6 life of a mark (s)
-- Answers msgpack of { id, data, id, data... }. A job without its hash is dropped: the agenda sends its nudge again.
-- A batch whose worker dies here, or whose reply is lost, comes back the same way.

if redis.call('EXISTS', KEYS[3]) == 1 then return cmsgpack.pack({}) end
local ids = redis.call('LPOP', KEYS[1], ARGV[1])
if not ids then return cmsgpack.pack({}) end
local until_ = redis.call('TIME')[1] + ARGV[6]
local taken, marks = {}, {}
for _, id in ipairs(ids) do
  local key = ARGV[2] .. id
  local data = redis.pcall('HGET', key, 'data')
  if type(data) == 'string' then
    redis.call('HSET', key, 'status', 'started', 'worker_name', ARGV[3], 'started_at', ARGV[4], 'last_heartbeat', ARGV[4])
    taken[#taken + 1] = id
    taken[#taken + 1] = data
    marks[#marks + 1] = until_
    marks[#marks + 1] = id .. ':' .. ARGV[5]
  end
end
if #marks > 0 then redis.pcall('ZADD', KEYS[2], unpack(marks)) end -- for RQ's tools alone
return cmsgpack.pack(taken)
