-- Take a batch of reports off the inbox into a list of its own, where they stay until the batch is committed.
--
-- KEYS  1 inbox   2 this batch's list   3 agenda   4 paused
-- ARGV  1 the batch's agenda member   2 most reports   3 most bytes   4 most bytes of one report   5 lease (ms)
-- Answers msgpack of { reports..., lengths... }, flat: a report over the bound comes as its beginning only. Repeated (its reply was lost),
-- or asked for a batch that somebody left behind, it answers the same reports again and takes nothing new.

local most, most_bytes, bound = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local due = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[5]

local reports = redis.call('LRANGE', KEYS[2], 0, -1)
if #reports == 0 and redis.call('EXISTS', KEYS[4]) == 0 then
  local bytes = 0
  while #reports < most and bytes < most_bytes do
    local report = redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
    if not report then break end
    reports[#reports + 1] = report
    bytes = bytes + #report
  end
end
if #reports > 0 then
  redis.call('ZADD', KEYS[3], due, ARGV[1])
else
  redis.call('ZREM', KEYS[3], ARGV[1])
end

local count = #reports
for i = 1, count do
  reports[count + i] = tostring(#reports[i])
  if #reports[i] > bound then reports[i] = string.sub(reports[i], 1, 4096) end
end
return cmsgpack.pack(reports)
