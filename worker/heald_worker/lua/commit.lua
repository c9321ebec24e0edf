-- Commit a batch of moves, each behind its run's version fence.
--
-- KEYS  1 agenda   2 events   3 recoveries   4 stats   5 parked runs
-- ARGV  1 msgpack of { moves, fields that jobs share {{field, value...}...} }   2 oldest event to keep (ms of age)
--       3 oldest recovery to keep (ms of age)   4 tombstone's life (ms)   5 regression window (ms)   6 run prefix
--       7 tombstone prefix
-- A move: { 1 folded run id, 2 expected version, 3 id of the commit that made it, 4 commit id, 5 state, 6 due in ms,
--           7 announces {{kind, facts}...},
--           8 job {queue key, job key, job id, life in s, data, description, number of its shared fields} or false,
--           9 finished job {job key, started registry, member} or false,
--           10 ended {recovery fields {...}, tombstone head, generation, prior key, evaluated at (us), outcome, ending,
--             last action} or false }
-- Answers a line per move: 'committed', 'already_mine' (this very commit went through, its reply was lost), 'moved'
-- (somebody was faster), or 'error: ...' (nothing was written). Lua does not roll back: types are checked before any write,
-- and the state goes first. A follow-up that fails leaves the run due now, so the janitor sees it.

local agenda, events, recoveries, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local batch = cmsgpack.unpack(ARGV[1])
local moves, shared_fields = batch[1], batch[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest_event = string.format('%d', now - ARGV[2])
local oldest_recovery = string.format('%d', now - ARGV[3])
local run_prefix, tomb_prefix = ARGV[6], ARGV[7]

local function wrong_type(key, wanted)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted then
    return 'error: ' .. key .. ' holds a ' .. kind .. ', not a ' .. wanted
  end
end

local shared = wrong_type(agenda, 'zset') or wrong_type(events, 'stream') or wrong_type(recoveries, 'stream')
  or wrong_type(stats, 'hash')

local queues = {}
local function wrong_queue(job)
  if not job then return nil end
  if queues[job[1]] == nil then
    queues[job[1]] = wrong_type(job[1], 'list') or false
    if not queues[job[1]] then redis.pcall('SADD', 'rq:queues', job[1]) end
  end
  return queues[job[1]] or nil
end

local any_parked = redis.call('EXISTS', KEYS[5]) == 1

local failed -- the first follow-up of a move that went wrong
local function follow_up(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then failed = failed or reply.err end
  return reply
end

local function announce(move, version)
  local ids = {}
  for _, told in ipairs(move[7]) do
    local id = follow_up('XADD', events, 'MINID', '~', oldest_event, '*',
      'run', move[1], 'kind', told[1], 'version', version, 'facts', told[2])
    if type(id) == 'string' then ids[#ids + 1] = id end
  end
  return table.concat(ids, ' ')
end

local superfluous, marks = {}, {} -- of jobs that are done: their hashes, and by registry their marks
local function forget(done)
  if not done then return end
  superfluous[#superfluous + 1] = done[1]
  if done[3] ~= '' then
    local here = marks[done[2]] or {}
    here[#here + 1] = done[3]
    marks[done[2]] = here
  end
end

local function send(job)
  if not job then return end
  local fields = shared_fields[job[7]]
  fields[2], fields[4] = job[5], job[6]
  follow_up('HSET', job[2], unpack(fields))
  follow_up('EXPIRE', job[2], job[4])
  follow_up('RPUSH', job[1], job[3])
end

-- The newest two ended runs are all the regression check needs; on equal instants the earlier entry counts as newer.
local function remember(move)
  local ended = move[10]
  local run = ended[1][2]
  local key, at = ended[4], string.format('%.0f', ended[5])
  if key == '' then return end
  local kept = {}
  local stored = follow_up('GET', key)
  if type(stored) == 'string' then kept = cjson.decode(stored) end
  local place = #kept + 1
  for i, prior in ipairs(kept) do
    if string.lower(prior[3]) == move[1] then return end
    if tonumber(prior[1]) < tonumber(at) and i < place then place = i end
  end
  table.insert(kept, place, { at, ended[6], run, ended[8] })
  kept[3] = nil
  follow_up('SET', key, cjson.encode(kept), 'PX', ARGV[5])
end

local function finish(move, key, seen)
  local ended, run = move[10], move[1]
  local fields = ended[1]
  fields[#fields + 1] = 'events'
  fields[#fields + 1] = seen or ''
  local id = redis.pcall('XADD', recoveries, 'MINID', '~', oldest_recovery, '*', unpack(fields))
  if type(id) == 'table' then
    redis.pcall('ZADD', agenda, now + 5000, run)
    return 'error: ' .. id.err
  end
  redis.call('SET', tomb_prefix .. run, table.concat({ ended[2], id, move[4], ended[3] }, ' '), 'PX', ARGV[4])
  redis.call('DEL', key)
  redis.call('ZREM', agenda, run)
  announce(move, string.format('%d', move[2] + 1))
  if not pcall(remember, move) then -- what stands there is no index: it begins anew
    follow_up('DEL', move[10][4])
    pcall(remember, move)
  end
  follow_up('HINCRBY', stats, 'ended_' .. ended[7], 1)
  forget(move[9])
  return 'committed'
end

local function commit(move)
  local run, key = move[1], run_prefix .. move[1]
  local held = redis.pcall('HMGET', key, 'v', 'c', 'e', 'n', 'f')
  if held.err then return 'error: ' .. held.err end
  if not held[1] then
    local stone = redis.pcall('GET', tomb_prefix .. run)
    local mine = type(stone) == 'string' and string.find(stone, ' ' .. move[4] .. ' ', 1, true)
    return mine and 'already_mine' or 'moved'
  end
  if tonumber(held[1]) ~= move[2] or held[2] ~= move[3] then
    return held[2] == move[4] and 'already_mine' or 'moved'
  end
  local wrong = shared or wrong_queue(move[8])
  if wrong then return wrong end
  if any_parked then redis.pcall('HDEL', KEYS[5], run) end -- it has been advanced after all
  if move[10] then return finish(move, key, held[3]) end

  local version = string.format('%d', move[2] + 1)
  redis.call('HSET', key, 'v', version, 'c', move[4], 's', move[5])
  redis.call('ZADD', agenda, now + move[6], run)
  local ids = announce(move, version)
  follow_up('HSET', key, 'e', held[3] and held[3] ~= '' and (held[3] .. ' ' .. ids) or ids)
  if held[4] or held[5] then follow_up('HDEL', key, 'n', 'f') end
  forget(move[9])
  send(move[8])
  if failed then redis.pcall('ZADD', agenda, now, run) end
  return 'committed'
end

local answers = {}
for i, move in ipairs(moves) do
  failed = nil
  answers[i] = commit(move)
end
if #superfluous > 0 then redis.pcall('DEL', unpack(superfluous)) end
for registry, here in pairs(marks) do redis.pcall('ZREM', registry, unpack(here)) end
return table.concat(answers, '\n')
