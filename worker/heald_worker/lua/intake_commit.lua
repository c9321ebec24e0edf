-- Commit an intake batch: create its runs, write its dead letters, delete it. Nothing when it is gone; when something goes
-- wrong on the way the batch stays, and is taken up again: what was created by then is a duplicate, and due.
--
-- KEYS  1 this batch's list   2 agenda   3 events   4 dead letters   5 stats   6 remedies
-- ARGV  1 the batch's agenda member   2 msgpack of { items, fields that jobs share {{field, value...}...} }
--       3 oldest event to keep (ms of age)   4 most dead letters
--       5 run prefix   6 tombstone prefix   7 most bytes of dead letters   8 life of a started job's mark (s)
--       9 digest of the table of remedies that new runs use, or ''   10 that table (JSON), or '' when it should be there
--       11 life of a tombstone (ms)   12 how long a job's record counts (ms)   13 'at any rate' to take in what has moved
-- An item: { 'run', 1 folded run id, 2 digest, 3 commit id, 4 state, 5 due in ms, 6 facts (JSON), 7 job as in commit.lua,
--            8 run id as it was reported, 9 what is fixed of the run, 10 key of its job's record or '',
--            11 {run, CI's run, its attempt} as that record had them when the run was computed, 12 the CI's run and 13 its
--            attempt of this report, 14 its generation, 15 key of its incident or '', 16 {run, state} as that had them,
--            17 the signal (JSON), 18 facts of joining (JSON), 19 whether it only repeats what somebody was told of }
--       or { 'dead', {field, value...} } or { 'probe' }
-- Answers, a line per item: 'accepted', 'joined', 'verdict', 'duplicate', 'run_id_conflict', 'dead' or 'probe'; one 'gone' when the
-- batch was committed before; one 'remedies' when nothing was done, as the table is to be sent along; one 'moved' when
-- nothing was done, as what the runs were computed from has changed.
--
-- A report opens a run; or joins the run that is open for its cause; or it is of a later attempt of the CI than a run whose
-- retry is under way, and so is that retry's verdict. A report that did not open a run has a tombstone that names the run.

if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 'gone'
end
local wanted = { 'list', 'zset', 'stream', 'stream', 'hash', 'hash' }
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted[i] then
    return redis.error_reply('WRONGTYPE ' .. key .. ' holds a ' .. kind .. ', not a ' .. wanted[i])
  end
end

local table_digest = ARGV[9]
if table_digest ~= '' and ARGV[10] == '' and redis.call('HEXISTS', KEYS[6], table_digest) == 0 then return 'remedies' end

local batch = cmsgpack.unpack(ARGV[2])
local items, shared_fields = batch[1], batch[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local oldest_event = string.format('%d', now - ARGV[3])
local counts = { accepted = 0, duplicate = 0, dead = 0, joined = 0, verdict = 0, probes = 0 }
local queues = {}
local begun, marked_until = {}, time[1] + ARGV[8] -- by registry: marks of jobs that their committer goes on with

local most_letters, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[7])

local function weight_of(fields)
  local bytes = 0
  for _, text in ipairs(fields) do bytes = bytes + #tostring(text) end
  return bytes
end

-- What the dead letters weigh: as it was written down or, where some have been removed since, counted anew, the newest
-- first, until no more of them fit.
local function weigh()
  local known = redis.call('HMGET', KEYS[5], 'letters', 'letter_bytes')
  local kept = { letters = redis.call('XLEN', KEYS[4]), bytes = tonumber(known[2]) }
  if kept.bytes and kept.letters == tonumber(known[1]) then return kept end
  kept = { letters = 0, bytes = 0 }
  local edge = '+'
  repeat
    local page = redis.call('XREVRANGE', KEYS[4], edge, '-', 'COUNT', 64)
    for _, letter in ipairs(page) do
      if kept.bytes > most_bytes or kept.letters > most_letters then
        redis.call('XTRIM', KEYS[4], 'MINID', '=', kept.oldest)
        return kept
      end
      kept.letters, kept.bytes, kept.oldest = kept.letters + 1, kept.bytes + weight_of(letter[2]), letter[1]
    end
    if kept.oldest then edge = '(' .. kept.oldest end
  until #page == 0
  return kept
end

local kept
local function bury(fields)
  counts.dead = counts.dead + 1
  kept = kept or weigh()
  redis.call('XADD', KEYS[4], '*', unpack(fields))
  kept.letters, kept.bytes = kept.letters + 1, kept.bytes + weight_of(fields)
  while kept.letters > 1 and (kept.letters > most_letters or kept.bytes > most_bytes) do
    local oldest = redis.call('XRANGE', KEYS[4], '-', '+', 'COUNT', 1)[1]
    redis.call('XDEL', KEYS[4], oldest[1])
    kept.letters, kept.bytes = kept.letters - 1, kept.bytes - weight_of(oldest[2])
  end
end

local function tell(run, kind, version, facts)
  return redis.pcall('XADD', KEYS[3], '*',
    'run', run, 'kind', kind, 'version', version, 'facts', facts)
end

local reports
local function refuse(place, item)
  reports = reports or redis.call('LRANGE', KEYS[1], 0, -1)
  local body = reports[place]
  bury({ 'reason', 'run_id_conflict', 'detail', 'the run id is taken by another report', 'run', item[9],
    'length', tostring(#body), 'digest', item[3], 'body', body, 'whole', '1' })
end

local function taken_by(run)
  local key = ARGV[5] .. run
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then return redis.call('HGET', key, 'd') or 'unknown' end
  if kind ~= 'none' then return 'unknown' end
  local stone = redis.pcall('GET', ARGV[6] .. run)
  if type(stone) == 'string' then return string.match(stone, '^%S+') or 'unknown' end
  return stone and 'unknown' or nil
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

local on_agenda = {}

local function known(key, fields)
  if key == '' then return {} end
  local found = redis.pcall('HMGET', key, unpack(fields))
  if found.err then return {} end
  for i = 1, #fields do found[i] = found[i] or '' end
  return found
end

-- Whether a run is open, and what a report may do to it.
local function openness(run)
  if not run or run == '' then return nil end
  local held = redis.pcall('HMGET', ARGV[5] .. run, 'v', 'a', 'w', 'e')
  if held.err or not held[1] then return nil end
  return { may = held[2] or '', judged = held[3], events = held[4] or '' }
end

local function same(one, other) return table.concat(one, '\0') == table.concat(other, '\0') end

-- What decides between an open run and a new one may have changed since Python looked.
local function has_moved(item)
  if item[1] ~= 'run' then return false end
  local incident = known(item[16], { 'run', 'state' })
  local open = incident[2] == 'open' and openness(incident[1])
  if item[16] ~= '' and not open and not same(incident, item[17]) then return true end
  return item[11] ~= '' and item[13] ~= '' and not same(known(item[11], { 'run', 'ci_run', 'ci_attempt' }), item[12])
end

local MOST_TOLD = 100 -- joins that a run's own list of events names; the others are counted
local function attach(run, item, kind, id)
  redis.call('SET', ARGV[6] .. item[2], table.concat({ item[3], 'joined:' .. run, '-', '0' }, ' '), 'PX', ARGV[11])
  local key = ARGV[5] .. run
  local seen = redis.pcall('HGET', key, 'e')
  local count = redis.call('HINCRBY', key, 'j', 1)
  if count <= MOST_TOLD and type(id) == 'string' and type(seen) == 'string' then
    redis.call('HSET', key, 'e', seen == '' and id or seen .. ' ' .. id)
  end
  counts[kind] = counts[kind] + 1
  return kind
end

local function is_later(attempt, than)
  return tonumber(attempt) and tonumber(than) and tonumber(attempt) > tonumber(than)
end

-- A later attempt of the CI that failed is the verdict of the retry that waits for it.
local function judge(item)
  if item[11] == '' or item[13] == '' then return nil end
  local record = known(item[11], { 'run', 'ci_run', 'ci_attempt' })
  if record[2] ~= item[13] or not is_later(item[14], record[3]) then return nil end
  local open = openness(record[1])
  if not open or open.may ~= 'retry' or open.judged then return nil end
  redis.call('HSET', ARGV[5] .. record[1], 'w', item[18])
  redis.call('HSET', item[11], 'ci_attempt', item[14])
  on_agenda[#on_agenda + 1], on_agenda[#on_agenda + 2] = now, record[1]
  local run = record[1]
  return attach(run, item, 'verdict', tell(run, 'verdict', '0', item[19]))
end

local function join(item)
  if item[16] == '' then return nil end
  local incident = known(item[16], { 'run', 'state' })
  local open = incident[2] == 'open' and openness(incident[1])
  if not open or open.may == 'over' then return nil end
  local run = incident[1]
  if item[11] ~= '' and item[13] ~= '' then -- a later attempt of this job, too, belongs to the run that it joins now
    local before = known(item[11], { 'ci_run', 'ci_attempt', 'generation' })
    if before[1] ~= item[13] or not is_later(before[2], item[14]) then
      local generation = before[3] ~= '' and before[3] or item[15]
      redis.pcall('HSET', item[11], 'run', run, 'ci_run', item[13], 'ci_attempt', item[14], 'generation', generation)
      redis.pcall('PEXPIRE', item[11], ARGV[12])
    end
  end
  return attach(run, item, 'joined', tell(run, 'joined', '0', item[19]))
end

-- A run that was opened is the one that later attempts and reports of its cause look for. One that only repeats what
-- somebody was told of does not stand for its cause: how long that is news counts from the run that was told of.
local function register(run, item)
  if item[11] ~= '' and item[13] ~= '' then
    local before = openness(known(item[11], { 'run' })[1])
    if not before or before.may ~= 'retry' then
      redis.pcall('HSET', item[11], 'run', run, 'ci_run', item[13], 'ci_attempt', item[14], 'generation', item[15])
      redis.pcall('PEXPIRE', item[11], ARGV[12])
    end
  end
  if item[16] ~= '' and not item[20] then
    redis.pcall('DEL', item[16])
    redis.pcall('HSET', item[16], 'run', run, 'state', 'open')
    redis.pcall('PEXPIRE', item[16], ARGV[11])
  end
end

local function create(place, item)
  local run, digest, job = item[2], item[3], item[8]
  local owner = taken_by(run)
  if owner == digest then
    counts.duplicate = counts.duplicate + 1
    tell(run, 'duplicate', '0', '{}')
    return 'duplicate'
  elseif owner then
    refuse(place, item)
    return 'run_id_conflict'
  end
  local verdict = judge(item) or join(item)
  if verdict then return verdict end
  local key = ARGV[5] .. run
  on_agenda[#on_agenda + 1], on_agenda[#on_agenda + 2] = now + item[6], run
  local id = tell(run, 'accepted', '1', item[7])
  redis.call('HSET', key, 'v', '1', 'c', item[4], 's', item[5], 'd', digest, 'i', item[10],
    'e', type(id) == 'string' and id or '', 'b', item[11], 'r', table_digest, 'k', item[20] and '' or item[16])
  register(run, item)
  if table_digest ~= '' then
    redis.call('HINCRBY', KEYS[6], table_digest .. ':runs', 1)
    if ARGV[10] ~= '' then redis.call('HSETNX', KEYS[6], table_digest, ARGV[10]) end
  end
  queues[job[1]] = queues[job[1]] or {}
  redis.pcall('COPY', template_of(job), job[2], 'REPLACE')
  redis.pcall('HSET', job[2], 'data', job[5], 'description', job[6])
  if job[8] == '' then
    table.insert(queues[job[1]], job[3])
  else
    local here = begun[job[8]] or {}
    here[#here + 1], here[#here + 2] = marked_until, job[9]
    begun[job[8]] = here
  end
  counts.accepted = counts.accepted + 1
  return 'accepted'
end

local items_moved = false
if ARGV[13] ~= 'at any rate' then
  for _, item in ipairs(items) do items_moved = items_moved or has_moved(item) end
end
if items_moved then return 'moved' end

local answers = {}
local function take_in_all()
  for i, item in ipairs(items) do
    if item[1] == 'run' then
      answers[i] = create(i, item)
    elseif item[1] == 'probe' then
      counts.probes = counts.probes + 1
      answers[i] = 'probe'
    else
      bury(item[2])
      answers[i] = 'dead'
    end
  end
end
local went_well, trouble = pcall(take_in_all)

-- A call costs more than what it does: what many runs add to one key is written at once. Lua's stack holds 4000 values.
-- The agenda comes first, and also where something went wrong on the way: what was created by then is not forgotten.
local function in_parts(command, key, values)
  for first = 1, #values, 4000 do
    redis.pcall(command, key, unpack(values, first, math.min(first + 3999, #values)))
  end
end
in_parts('ZADD', KEYS[2], on_agenda)
if not went_well then return redis.error_reply(type(trouble) == 'table' and trouble.err or tostring(trouble)) end
for queue, ids in pairs(queues) do
  redis.pcall('SADD', 'rq:queues', queue)
  in_parts('RPUSH', queue, ids)
end
for registry, here in pairs(begun) do in_parts('ZADD', registry, here) end -- for RQ's tools alone
for _, key in pairs(templates) do redis.pcall('DEL', key) end
redis.pcall('XTRIM', KEYS[3], 'MINID', '~', oldest_event)
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
if kept then redis.pcall('HSET', KEYS[5], 'letters', kept.letters, 'letter_bytes', kept.bytes) end
for name, count in pairs(counts) do
  if count > 0 then redis.pcall('HINCRBY', KEYS[5], name, count) end
end
return table.concat(answers, '\n')
