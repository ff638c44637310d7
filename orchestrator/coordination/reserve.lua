-- Reserves start times for requests to one API so that none of its rates is exceeded, however the
-- requests of all processes are delayed on their way by up to their headroom.
--
-- One list keeps, ascending, the moments until which the last requests may arrive ("latest"), for
-- all rates: a request may start when the amount-th last of them lies a full window back. The list
-- knows no rates, so a rate that is changed or added counts what was let in before.
--
-- KEYS: generation, queue (hash: holder -> "<waiting> <expires>"), latest (list),
--       log (hash: "last" -> the newest of the list; "lost" -> the newest that the list lost;
--       "<amount>:<window>" -> until when that rate is in force)
-- ARGV: holder, known, new_id, distrust, settle, waiting, count, horizon, headroom, pace,
--       then for each rate: amount, window  (durations in microseconds; pace 0: none)
-- Answers: now, generation, next_at, processes, waiting elsewhere, then the start times
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
local headroom, pace = tonumber(ARGV[9]), tonumber(ARGV[10])
local list, log = KEYS[3], KEYS[4]
local now = microseconds()
local id, born, wiped = generation(KEYS[1], ARGV[2], ARGV[3], ARGV[4], now)

local rates, theirs, theirs_until = {}, {}, 0
local most, longest, last, lost = KEPT, KEPT_FOR, 0, 0

local function remember(amount, window)
  most, longest = math.max(most, amount), math.max(longest, window)
  return { amount = amount, window = window }
end

local function read_log()
  local own, fields = {}, redis.call('HGETALL', log)
  for i = 11, #ARGV, 2 do
    own[ARGV[i] .. ':' .. ARGV[i + 1]] = true
    rates[#rates + 1] = remember(tonumber(ARGV[i]), tonumber(ARGV[i + 1]))
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
  for rate in pairs(own) do redis.call('HSET', log, rate, text(now + PRESENT)) end
end

read_log()
local length = redis.call('LLEN', list)
if length == 0 then lost = math.max(lost, last) end -- it was given up, unused for so long
if last > now + horizon + 10000000 then
  -- Nothing is reserved that far ahead: this server's clock went back. Begin anew, carefully.
  redis.call('DEL', list)
  id, born, wiped = renew_generation(KEYS[1], ARGV[3], now, true)
  last, lost, length = 0, 0, 0
end

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

local function earliest() -- as its own rates have it, and as all have it
  local start = math.max(now, born + settle)
  if pace > 0 then start = math.max(start, last - headroom + pace) end
  local own = after(start, rates)
  return own, after(own, theirs)
end

local function crowd()
  local processes, elsewhere = 1, 0
  local known = redis.call('HGETALL', KEYS[2])
  for i = 1, #known, 2 do
    local waits, expires = string.match(known[i + 1], '^(%d+) (%d+)$')
    if tonumber(expires) <= now then
      redis.call('HDEL', KEYS[2], known[i])
    elseif known[i] ~= holder and tonumber(waits) > 0 then
      processes, elsewhere = processes + 1, elsewhere + tonumber(waits)
    end
  end
  redis.call('HSET', KEYS[2], holder, text(waiting) .. ' ' .. text(now + PRESENT))
  redis.call('PEXPIRE', KEYS[2], 2 * PRESENT / 1000)
  return processes, elsewhere
end

local processes, elsewhere = crowd()
local answer = { text(now), id, '0', processes, elsewhere }
for _ = 1, math.max(1, math.ceil(count / processes)) do
  local own, start = earliest()
  if start > now + horizon then
    local again = math.max(own - horizon, theirs_until)
    answer[3] = text(#theirs > 0 and math.min(start - horizon, again) or start - horizon)
    break
  end
  last = math.max(last, start + headroom) -- ascending, also when processes' headrooms differ
  length = redis.call('RPUSH', list, text(last))
  answer[#answer + 1] = text(start)
end
if length > most then
  lost = tonumber(redis.call('LINDEX', list, -most - 1))
  redis.call('LTRIM', list, -most, -1)
end
redis.call('PEXPIRE', list, math.ceil((longest + horizon + headroom) / 1000) + 1000)
redis.call('HSET', log, 'last', text(last), 'lost', text(lost))
return answer
