-- What on the agenda is due: each entry is moved ahead before it is answered, so that two janitors never share one.
--
-- KEYS  1 agenda
-- ARGV  1 most entries   2 first and   3 longest time to the next look (ms)   4 run prefix   5 tombstone prefix   6 intake prefix
-- Answers { ms until the next entry is due or -1, { member, version }... }. Each look at a run doubles the
-- time to the next one, until a commit starts again; it is never later than what stands in the run's `u`. Entries without a run or a batch behind them are taken off.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local first, longest = tonumber(ARGV[2]), tonumber(ARGV[3])
local found = {}

for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  if string.sub(member, 1, 7) == 'intake:' then
    if redis.call('EXISTS', ARGV[6] .. string.sub(member, 8)) == 1 then
      redis.call('ZADD', KEYS[1], now + first, member)
      found[#found + 1] = { member, '0' }
    else
      redis.call('ZREM', KEYS[1], member)
    end
  else
    local key = ARGV[4] .. member
    local held = redis.pcall('HMGET', key, 'v', 'u')
    if held.err or not tonumber(held[1]) then
      redis.call('ZREM', KEYS[1], member)
      local ended = not held.err and not held[1] and redis.call('EXISTS', ARGV[5] .. member) == 1
      if not ended then found[#found + 1] = { member, '-1' } end
    else
      local sends = redis.pcall('HINCRBY', key, 'n', 1)
      if type(sends) ~= 'number' then -- no number stood there
        sends = 1
        redis.call('HSET', key, 'n', sends)
      end
      local wait, till = math.min(first * 2 ^ math.min(sends - 1, 30), longest), (tonumber(held[2]) or 0) - now
      if till > 0 then wait = math.min(wait, till) end
      redis.call('ZADD', KEYS[1], now + wait, member)
      found[#found + 1] = { member, string.format('%d', held[1]) }
    end
  end
end

local head = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local next_due = -1
if head[2] then next_due = math.max(0, math.floor(head[2] - now)) end
return { next_due, found }
