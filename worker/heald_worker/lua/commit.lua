-- Commit a batch of moves, each behind its run's version fence.
--
-- KEYS  1 agenda   2 events   3 recoveries   4 stats   5 parked runs   6 runs that take long to end   7 unheard notices
-- ARGV  1 msgpack of { moves, fields that jobs share {{field, value...}...} }   2 oldest event to keep (ms of age)
--       3 oldest recovery to keep (ms of age)   4 tombstone's life (ms)   5 regression window (ms)   6 run prefix
--       7 tombstone prefix   8 how long a test counts as flaky (ms)   9 life of a started job's mark (s)
--       10 how long a job's record counts (ms)   11 the hash of remedies   12 most unheard notices
-- A move: { 1 folded run id, 2 expected version, 3 id of the commit that made it, 4 commit id, 5 state, 6 due in ms,
--           7 announces {{kind, facts}...},
--           8 job {queue key, job key, job id, life in s, data, description, number of its shared fields, started
--             registry or '' to queue it, its mark there} or false,
--           9 finished job {job key, started registry, member} or false,
--           10 ended {recovery fields {...}, tombstone head, generation, prior key, evaluated at (us), outcome, ending,
--             last action, flaky key, what shows it flaky, whether it only claims to have recovered, whether nothing
--             was to be repaired} or false,
--           11 what is fixed of the run, where its hash does not hold that yet, or false,
--           12 budget {field of its job's record, most} that this step takes one of, or false,
--           13 what a report may do to it from now on: 'retry' (a later attempt of its CI is its verdict), 'over' (nothing
--             joins it any more) or '', 14 whether it takes the verdict that waits, 15 key of the branch that it holds, or '',
--           16 term { claim or '', ms } of what is in hand or put off (ms -1: it is kept, and its end is when the run is
--              due) or false,
--           17 fields of a notice that failed for good {field, value...} or false }
-- Answers a line per move: 'committed', 'already_mine' (this very commit went through, its reply was lost), 'moved'
-- (somebody was faster, or a verdict waits that the step does not know), 'spent' (nothing is left of the budget), 'busy'
-- (another run's repair holds the branch), or 'error: ...'. Of all but the first two nothing was written.
--
-- Lua does not roll back. So types are checked before any write; first come all states, then the agenda, then what
-- follows from them. A follow-up that fails leaves its run due now, so the janitor sees it. A call costs more than what
-- it does: what many moves add to one key is collected and written at once.

local agenda, events, recoveries, stats = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local batch = cmsgpack.unpack(ARGV[1])
local moves, shared_fields = batch[1], batch[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest_event = string.format('%d', now - ARGV[2])
local oldest_recovery = string.format('%d', now - ARGV[3])
local run_prefix, tomb_prefix = ARGV[6], ARGV[7]
local any_parked = redis.call('EXISTS', KEYS[5]) == 1

local function error_of(reply) return type(reply) == 'table' and reply.err or nil end

-- A command for one key with many values, in parts that Lua's stack can hold. Returns its first error.
local function in_parts(command, key, values)
  for first = 1, #values, 4000 do
    local wrong = error_of(redis.pcall(command, key, unpack(values, first, math.min(first + 3999, #values))))
    if wrong then return wrong end
  end
end

local function wrong_type(key, wanted)
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted then
    return 'error: ' .. key .. ' holds a ' .. kind .. ', not a ' .. wanted
  end
end

local shared = wrong_type(agenda, 'zset') or wrong_type(events, 'stream') or wrong_type(recoveries, 'stream')
  or wrong_type(stats, 'hash')

local queues = {} -- by key: what is wrong with it, or its new jobs and their runs
local function wrong_queue(job)
  if not job then return nil end
  if not queues[job[1]] then
    queues[job[1]] = { wrong = wrong_type(job[1], 'list'), jobs = {}, runs = {} }
    if not queues[job[1]].wrong then redis.pcall('SADD', 'rq:queues', job[1]) end
  end
  return queues[job[1]].wrong
end

-- Event ids are made here, so that a state can name its events before they are written.
local event_ms, event_number = now, -1
local stream = redis.pcall('XINFO', 'STREAM', events)
for i = 1, #stream, 2 do
  if stream[i] == 'last-generated-id' then
    local ms, number = string.match(stream[i + 1], '^(%d+)-(%d+)$')
    if tonumber(ms) >= now then event_ms, event_number = tonumber(ms), tonumber(number) end
  end
end

local function event_ids(move)
  local ids = {}
  for i = 1, #move[7] do
    event_number = event_number + 1
    ids[i] = string.format('%.0f-%.0f', event_ms, event_number)
  end
  return ids
end

local function joined(seen, ids)
  local new = table.concat(ids, ' ')
  return seen and seen ~= '' and seen .. ' ' .. new or new
end

local went, on_agenda, over, endings = {}, {}, {}, {}

-- A table of remedies goes with the last run that uses it.
local function release(table_digest)
  if not table_digest or table_digest == '' then return end
  local left = redis.pcall('HINCRBY', ARGV[11], table_digest .. ':runs', -1)
  if type(left) ~= 'number' or left <= 0 then redis.pcall('HDEL', ARGV[11], table_digest, table_digest .. ':runs') end
end

-- Take one from the budget of the run's job. Returns false when nothing is left of it.
local function take(budget, record)
  if not budget or not record or record == '' then return true end
  local used = redis.pcall('HGET', record, budget[1])
  if type(used) == 'string' and tonumber(used) and tonumber(used) >= budget[2] then return false end
  redis.pcall('HINCRBY', record, budget[1], 1)
  redis.pcall('PEXPIRE', record, ARGV[10])
  return true
end

-- A branch belongs to one repair at a time. What waited for it is due as soon as it is free.
local function free(branch, run)
  if not branch or branch == '' then return end
  local held = redis.pcall('HGETALL', branch)
  if held.err then return end
  local holder, waiting = nil, {}
  for i = 1, #held, 2 do
    if held[i] == 'run' then holder = held[i + 1] else waiting[#waiting + 1] = string.sub(held[i], 6) end
  end
  if holder ~= run then return end
  redis.pcall('DEL', branch)
  for _, other in ipairs(waiting) do redis.pcall('ZADD', agenda, 'XX', now, other) end
end

-- Whether a run still has the branch that it once took. The repair of a parked run has long ended.
local function holds(run, branch)
  if any_parked and redis.pcall('HEXISTS', KEYS[5], run) == 1 then return false end
  return redis.pcall('HGET', run_prefix .. run, 'h') == branch
end

local function seize(branch, run, key)
  local holder = redis.pcall('HGET', branch, 'run')
  if error_of(holder) then redis.pcall('DEL', branch) end -- something else stood there
  if type(holder) == 'string' and holder ~= run and holds(holder, branch) then
    redis.pcall('HSET', branch, 'wait:' .. run, '1')
    redis.pcall('HSET', key, 'q', holder)
    return false
  end
  redis.pcall('HSET', branch, 'run', run)
  redis.pcall('EXPIRE', branch, 86400) -- no repair takes that long
  return true
end

-- A run that only tried leaves nothing behind: the next one of its cause is the first that somebody may be told of.
local function close_incident(incident, run, ending, only_tried)
  if not incident or incident == '' or redis.pcall('HGET', incident, 'run') ~= run then return end
  if only_tried then
    redis.pcall('DEL', incident)
    return
  end
  redis.pcall('HSET', incident, 'state', ending, 'at', string.format('%d', now))
  redis.pcall('PEXPIRE', incident, ARGV[10])
end

local function finish(move, key, held)
  local ended, run, ids = move[10], move[1], event_ids(move)
  local fields = ended[1]
  for _, text in ipairs({ 'events', joined(held[3], ids), 'joined', held[9] or '0' }) do fields[#fields + 1] = text end
  local id = redis.pcall('XADD', recoveries, 'MINID', '~', oldest_recovery, '*', unpack(fields))
  if error_of(id) then
    redis.pcall('ZADD', agenda, now + 5000, run)
    return 'error: ' .. id.err
  end
  redis.call('SET', tomb_prefix .. run, table.concat({ ended[2], id, move[4], ended[3] }, ' '), 'PX', ARGV[4])
  redis.call('DEL', key)
  release(held[7])
  close_incident(held[8], run, ended[7], ended[12])
  over[#over + 1] = run
  endings[ended[7]] = (endings[ended[7]] or 0) + 1
  went[#went + 1] = { move, ids }
  return 'committed'
end

-- Whose lease runs, and until when. Of a term that is kept, answers its end: a renewal may have moved it just now.
local function set_term(key, term, held)
  if term and term[2] < 0 then return tonumber(held[15]) end
  if term then
    redis.call('HSET', key, 'l', term[1], 'u', string.format('%d', now + term[2]))
  elseif held[14] or held[15] then
    redis.pcall('HDEL', key, 'l', 'u')
  end
end

local function commit(move)
  local run, key = move[1], run_prefix .. move[1]
  local held = redis.pcall('HMGET', key, 'v', 'c', 'e', 'n', 'f', 'b', 'r', 'k', 'j', 'w', 'h', 'q', 'a', 'l', 'u')
  if held.err then return 'error: ' .. held.err end
  if not held[1] then
    local stone = redis.pcall('GET', tomb_prefix .. run)
    local mine = type(stone) == 'string' and string.find(stone, ' ' .. move[4] .. ' ', 1, true)
    return mine and 'already_mine' or 'moved'
  end
  if tonumber(held[1]) ~= move[2] or held[2] ~= move[3] then
    return held[2] == move[4] and 'already_mine' or 'moved'
  end
  if held[10] and not move[14] then return 'moved' end
  local wrong = shared or wrong_queue(move[8])
  if wrong then return wrong end
  if any_parked then redis.pcall('HDEL', KEYS[5], run) end -- it has been advanced after all
  if move[10] then return finish(move, key, held) end
  if move[15] ~= '' and not seize(move[15], run, key) then return 'busy' end
  if not take(move[12], held[6]) then return 'spent' end
  if held[11] ~= move[15] then free(held[11], run) end
  if move[13] == 'retry' and held[13] ~= 'retry' and held[6] and held[6] ~= '' then
    redis.pcall('HSET', held[6], 'run', run) -- a later attempt of the CI is this run's verdict
  end

  local ids = event_ids(move)
  redis.call('HSET', key, 'v', string.format('%d', move[2] + 1), 'c', move[4], 's', move[5], 'e', joined(held[3], ids),
    'a', move[13], 'h', move[15])
  if move[11] then redis.call('HSET', key, 'i', move[11]) end
  if held[4] or held[5] or held[10] or held[12] then redis.pcall('HDEL', key, 'n', 'f', 'w', 'q') end
  on_agenda[#on_agenda + 1] = set_term(key, move[16], held) or now + move[6]
  on_agenda[#on_agenda + 1] = run
  went[#went + 1] = { move, ids }
  return 'committed'
end

local answers = {}
for i, move in ipairs(moves) do answers[i] = commit(move) end
in_parts('ZADD', agenda, on_agenda)
in_parts('ZREM', agenda, over)
if #over > 0 and redis.call('EXISTS', KEYS[6]) == 1 then in_parts('ZREM', KEYS[6], over) end

local due_now = {} -- where something went wrong after the commit
local function bring_up(run)
  due_now[#due_now + 1] = now
  due_now[#due_now + 1] = run
end

local superfluous, marks = {}, {} -- of jobs that are done: their hashes, and by registry their marks
local begun, marked_until = {}, time[1] + ARGV[9] -- by registry: marks of jobs that their committer goes on with

local function announce(move, ids)
  local version, wrong = string.format('%d', move[2] + 1), nil
  for i, told in ipairs(move[7]) do
    wrong = error_of(redis.pcall('XADD', events, ids[i],
      'run', move[1], 'kind', told[1], 'version', version, 'facts', told[2])) or wrong
  end
  return wrong
end

-- Most fields of a batch's jobs are alike: they are written once, with their life, and copied.
local templates = {}
local function template_of(job)
  local number = job[7]
  if not templates[number] then
    local key = 'heald:job-template:' .. number
    redis.pcall('DEL', key)
    redis.pcall('HSET', key, unpack(shared_fields[number]))
    redis.pcall('EXPIRE', key, job[4])
    templates[number] = key
  end
  return templates[number]
end

local function send(move)
  local job = move[8]
  local wrong = error_of(redis.pcall('COPY', template_of(job), job[2], 'REPLACE'))
    or error_of(redis.pcall('HSET', job[2], 'data', job[5], 'description', job[6]))
  if job[8] ~= '' then
    local here = begun[job[8]] or {}
    here[#here + 1], here[#here + 2] = marked_until, job[9]
    begun[job[8]] = here
  else
    local queue = queues[job[1]]
    queue.jobs[#queue.jobs + 1], queue.runs[#queue.runs + 1] = job[3], move[1]
  end
  return wrong
end

local function forget(done)
  superfluous[#superfluous + 1] = done[1]
  if done[3] ~= '' then
    local here = marks[done[2]] or {}
    here[#here + 1] = done[3]
    marks[done[2]] = here
  end
end

-- The newest two ended runs are all the regression check needs; on equal instants the earlier entry counts as newer.
local priors = {}
local function priors_of(key)
  if not priors[key] then
    local stored = redis.pcall('GET', key)
    local readable, kept = pcall(cjson.decode, type(stored) == 'string' and stored or '[]')
    priors[key] = readable and kept or {}
  end
  return priors[key]
end

local function remember(run, ended)
  local kept, at = priors_of(ended[4]), string.format('%.0f', ended[5])
  local place = #kept + 1
  for i, prior in ipairs(kept) do
    if string.lower(prior[3]) == run then return end
    if tonumber(prior[1]) < tonumber(at) and i < place then place = i end
  end
  table.insert(kept, place, { at, ended[6], ended[1][2], ended[8], ended[11] })
  kept[3] = nil
end

for _, passed in ipairs(went) do
  local move = passed[1]
  local wrong = announce(move, passed[2])
  if move[8] then wrong = send(move) or wrong end
  if move[9] then forget(move[9]) end
  if move[17] then
    redis.pcall('XADD', KEYS[7], 'MAXLEN', ARGV[12], '*', unpack(move[17]))
    redis.pcall('HINCRBY', stats, 'notices_failed', 1)
  end
  if move[10] and move[10][4] ~= '' and not pcall(remember, move[1], move[10]) then
    priors[move[10][4]] = {} -- what stood there is no index: it begins anew
    remember(move[1], move[10])
  end
  if move[10] and move[10][9] ~= '' then redis.pcall('SET', move[10][9], move[10][10], 'PX', ARGV[8]) end
  if wrong and not move[10] then bring_up(move[1]) end
end

for key, queue in pairs(queues) do
  if #queue.jobs > 0 and in_parts('RPUSH', key, queue.jobs) then
    for _, run in ipairs(queue.runs) do bring_up(run) end
  end
end
for _, key in pairs(templates) do superfluous[#superfluous + 1] = key end
if #superfluous > 0 then redis.pcall('DEL', unpack(superfluous)) end
for registry, here in pairs(marks) do in_parts('ZREM', registry, here) end
for registry, here in pairs(begun) do in_parts('ZADD', registry, here) end -- for RQ's tools alone
for key, kept in pairs(priors) do redis.pcall('SET', key, cjson.encode(kept), 'PX', ARGV[5]) end
for ending, count in pairs(endings) do redis.pcall('HINCRBY', stats, 'ended_' .. ending, count) end
redis.pcall('XTRIM', events, 'MINID', '~', oldest_event)
in_parts('ZADD', agenda, due_now)
return table.concat(answers, '\n')
