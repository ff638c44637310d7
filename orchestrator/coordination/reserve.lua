-- Reserves start times for requests to one API so that none of its rates is exceeded, however the
-- requests of all processes are delayed on their way by up to their headroom.
--
-- One list keeps, ascending, the moments until which the last requests may arrive ("latest"), for
-- all rates: a request may start when the amount-th last of them lies a full window back. The list
-- knows no rates, so a rate that is changed or added counts what was let in before.
--
-- KEYS: generation, queue (hash: holder -> "<waiting> <expires>"), latest (list),
--       log (hash: "last" -> the newest of the list; "lost" -> the newest that the list lost;
--       "<amount>:<window>" -> until when that rate is in force),
--       pace (hash: "start" -> the newest start time; "even" -> when the next would start if none
--       had been lost; apart from the log, in which older releases expect nothing else)
-- ARGV: holder, known, new_id, distrust, settle, waiting, count, horizon, headroom, pace, closest,
--       how many are given back, then their marks, then for each rate: amount, window (durations in
--       microseconds; pace 0: none; closest: the pace while less was used than was wanted)
-- Answers: now, generation, next_at, processes, waiting elsewhere, then start time and mark of each
--
-- A start's mark is its moment in the list; no two are the same, so a call that is repeated gives
-- nothing back twice. What is given back was not used and counts no more: those who come next find
-- room in the windows, and follow each other a little more closely until it is used up.
--
-- While processes disagree about the rates, because a change has not reached all of them, what each
-- of them asks for holds for all. Who is kept back by a rate that is not its own asks again when that
-- may have gone out of force.

local PRESENT = 2000000 -- a process that asked within two seconds counts as waiting
local LARGEST = 1000000 -- no process asks for more headroom than a second
local KEPT = 10000 -- moments, for rates that are added later
local KEPT_FOR = 86400000000 -- at least a day
local holder, settle, waiting = ARGV[1], tonumber(ARGV[5]), tonumber(ARGV[6])
local count, horizon = tonumber(ARGV[7]), tonumber(ARGV[8])
local headroom, pace, closest = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
local given_back = tonumber(ARGV[12])
local list, log = KEYS[3], KEYS[4]
local now = microseconds()
local id, born, wiped = generation(KEYS[1], ARGV[2], ARGV[3], ARGV[4], now)

local rates, theirs, theirs_until = {}, {}, 0
local most, longest, shortest, last, lost = KEPT, KEPT_FOR, math.huge, 0, 0
local last_start, even = 0, 0

local function remember(amount, window)
  most, longest = math.max(most, amount), math.max(longest, window)
  return { amount = amount, window = window }
end

local function read_log()
  local own, fields = {}, redis.call('HGETALL', log)
  for i = 13 + given_back, #ARGV, 2 do
    own[ARGV[i] .. ':' .. ARGV[i + 1]] = true
    rates[#rates + 1] = remember(tonumber(ARGV[i]), tonumber(ARGV[i + 1]))
    shortest = math.min(shortest, tonumber(ARGV[i + 1]))
  end
  for i = 1, #fields, 2 do
    local field, value = fields[i], tonumber(fields[i + 1])
    local amount, window = string.match(field, '^(%d+):(%d+)$')
    if field == 'last' then
      last = value
    elseif field == 'lost' then
      lost = value
    elseif value + window <= now or value > now + PRESENT then -- or this server's clock went back
      redis.call('HDEL', log, field)
    else -- what it needs is kept for a window, lest going back to it had to wait for one
      local rate = remember(tonumber(amount), tonumber(window))
      if value > now and not own[field] then
        theirs[#theirs + 1], theirs_until = rate, math.max(theirs_until, value)
      end
    end
  end
  local known = redis.call('HMGET', KEYS[5], 'start', 'even')
  last_start, even = tonumber(known[1] or 0), tonumber(known[2] or 0)
  for rate in pairs(own) do redis.call('HSET', log, rate, text(now + PRESENT)) end
end

read_log()
local length = redis.call('LLEN', list)
if length == 0 then lost = math.max(lost, last) end -- it was given up, unused for so long
if last > now + horizon + 10000000 then
  -- Nothing is reserved that far ahead: this server's clock went back. Begin anew, carefully.
  redis.call('DEL', list)
  id, born, wiped = renew_generation(KEYS[1], ARGV[3], now, true)
  last, lost, length, last_start, even = 0, 0, 0, 0, 0
end

local function take_back() -- not marks of another generation: they may name others' moments
  if id ~= ARGV[2] then return end
  for i = 13, 12 + given_back do
    local removed = redis.call('LREM', list, -1, ARGV[i]) -- they are among the newest
    length, even = length - removed, math.max(even - removed * pace, 0)
  end
  if length == 0 then last = lost end -- nothing that was used is younger
end

if given_back > 0 and length > 0 then take_back() end

-- The newest of those that must lie a full window back; when the list does not reach back so far,
-- whatever it lost may be one of them.
local function nth_last(amount)
  if amount <= length then return tonumber(redis.call('LINDEX', list, -amount)) end
  return lost > 0 and lost or nil
end

local function after(start, limits)
  for _, rate in ipairs(limits) do
    local nth = nth_last(rate.amount)
    if nth then start = math.max(start, nth + rate.window + 1) end
    -- What was forgotten may have been reserved up to the horizon, with the largest headroom.
    if wiped then start = math.max(start, born + horizon + LARGEST + rate.window + 1) end
  end
  return math.ceil(start)
end

-- At an even distance; a little closer while the line is behind what it could have used.
local function paced(start)
  if pace == 0 then return start end
  return math.ceil(math.max(start, last_start + closest, math.min(even, last_start + pace)))
end

local function allowed() -- by its own rates
  return after(math.max(now, born + settle), rates)
end

local function earliest() -- as its own rates have it, and as all have it
  local own = paced(allowed())
  return own, after(own, theirs)
end

local function crowd() -- how many processes, how many wait in the others, and if any did before
  local processes, elsewhere, before = 1, 0, 0
  local known = redis.call('HGETALL', KEYS[2])
  for i = 1, #known, 2 do
    local waits, expires = string.match(known[i + 1], '^(%d+) (%d+)$')
    if tonumber(expires) <= now then
      redis.call('HDEL', KEYS[2], known[i])
    else
      before = before + tonumber(waits)
      if known[i] ~= holder and tonumber(waits) > 0 then
        processes, elsewhere = processes + 1, elsewhere + tonumber(waits)
      end
    end
  end
  redis.call('HSET', KEYS[2], holder, text(waiting) .. ' ' .. text(now + PRESENT))
  redis.call('PEXPIRE', KEYS[2], 2 * PRESENT / 1000)
  return processes, elsewhere, before > 0
end

local processes, elsewhere, wanted = crowd()
if not wanted or closest == pace then -- there is nothing to make up for
  even = math.max(last_start + pace, allowed())
end
local answer = { text(now), id, '0', processes, elsewhere }
for _ = 1, math.ceil(count / processes) do
  local own, start = earliest()
  if start > now + horizon then
    local again = math.max(own - horizon, theirs_until)
    answer[3] = text(#theirs > 0 and math.min(start - horizon, again) or start - horizon)
    break
  end
  last = math.max(last + 1, start + headroom) -- ascending, also when processes' headrooms differ
  last_start = math.max(last_start, start)
  even = math.max(even, wanted and start - shortest or start) + pace
  wanted = true
  length = redis.call('RPUSH', list, text(last))
  answer[#answer + 1] = text(start)
  answer[#answer + 1] = text(last)
end
if length > most then
  lost = tonumber(redis.call('LINDEX', list, -most - 1))
  redis.call('LTRIM', list, -most, -1)
end
redis.call('PEXPIRE', list, math.ceil((longest + horizon + headroom) / 1000) + 1000)
redis.call('HSET', log, 'last', text(last), 'lost', text(lost))
redis.call('HSET', KEYS[5], 'start', text(last_start), 'even', text(even))
return answer
