-- Send the nudges of runs that still wait for them again, where they are lost.
--
-- KEYS  1 runs that take long to end
-- ARGV  1 msgpack of { items, fields that jobs share {{field, value...}...} }   2 run prefix
-- An item: { 1 folded run id, 2 expected version, 3 job as in commit.lua, 4 when its log was fixed (ms), if it is to be
--            noted that its end takes long, else 0 }
-- Answers a line per item: 'sent', 'queued' (the nudge still stands in its queue: nothing was lost), 'moved', or
-- 'error: ...'. A queue is read at most once, and not at all when it is very long: what is lost there is found when it
-- has become shorter.

local LONGEST = 20000
local batch = cmsgpack.unpack(ARGV[1])
local items, shared_fields = batch[1], batch[2]

local queues = {}
local function queue_of(key)
  if not queues[key] then
    local kind = redis.call('TYPE', key).ok
    local queue = {}
    if kind ~= 'none' and kind ~= 'list' then queue.wrong = 'error: ' .. key .. ' holds a ' .. kind .. ', not a list' end
    queues[key] = queue
  end
  return queues[key]
end

local function stands_in(queue, key, id)
  if not queue.ids then
    queue.ids = {}
    queue.long = redis.call('LLEN', key) > LONGEST
    if not queue.long then
      for _, waiting in ipairs(redis.call('LRANGE', key, 0, -1)) do queue.ids[waiting] = true end
    end
  end
  return queue.long or queue.ids[id]
end

local function send(item)
  local job = item[3]
  local held = redis.pcall('HGET', ARGV[2] .. item[1], 'v')
  if type(held) ~= 'string' or tonumber(held) ~= item[2] then return 'moved' end
  if item[4] > 0 then redis.pcall('ZADD', KEYS[1], string.format('%d', item[4]), item[1]) end
  local queue = queue_of(job[1])
  if queue.wrong then return queue.wrong end
  local status = redis.pcall('HGET', job[2], 'status')
  if type(status) == 'table' then redis.call('DEL', job[2]) end -- no job stood there
  if status == 'queued' and stands_in(queue, job[1], job[3]) then return 'queued' end
  redis.call('HSET', job[2], 'data', job[5], 'description', job[6], unpack(shared_fields[job[7]]))
  redis.call('EXPIRE', job[2], job[4])
  redis.pcall('SADD', 'rq:queues', job[1])
  redis.call('RPUSH', job[1], job[3])
  return 'sent'
end

local answers = {}
for i, item in ipairs(items) do answers[i] = send(item) end
return table.concat(answers, '\n')
