-- Reserves start times for requests to one API so that none of its rates is exceeded, however the
-- requests of all processes are delayed on their way by up to their headroom.
--
-- For each rate a list keeps, ascending, the moments until which the last requests may arrive
-- ("latest"). A request may start when the amount-th last of them lies a full window back.
--
-- KEYS: generation, queue (hash: holder -> "<waiting> <expires>"), one list for each rate
-- ARGV: holder, known, new_id, distrust, settle, waiting, count, horizon, headroom, pace,
--       then for each rate: amount, window  (durations in microseconds; pace 0: none)
-- Answers: now, generation, next_at, processes, waiting elsewhere, then the start times

local PRESENT = 2000000 -- a process that asked within two seconds counts as waiting
local LARGEST = 1000000 -- no process asks for more headroom than a second
local holder, settle, waiting = ARGV[1], tonumber(ARGV[5]), tonumber(ARGV[6])
local count, horizon = tonumber(ARGV[7]), tonumber(ARGV[8])
local headroom, pace = tonumber(ARGV[9]), tonumber(ARGV[10])
local now = microseconds()
local id, born, wiped = generation(KEYS[1], ARGV[2], ARGV[3], ARGV[4], now)

local rates = {}
for i = 11, #ARGV, 2 do
  rates[#rates + 1] = {
    key = KEYS[#rates + 3], amount = tonumber(ARGV[i]), window = tonumber(ARGV[i + 1]),
  }
end

local latest = tonumber(redis.call('LINDEX', rates[1].key, -1) or '0')
if latest > now + horizon + 10000000 then
  -- Nothing is reserved that far ahead: this server's clock went back. Begin anew, carefully.
  for _, rate in ipairs(rates) do redis.call('DEL', rate.key) end
  id, born, wiped = renew_generation(KEYS[1], ARGV[3], now, true)
  latest = 0
end

local function earliest()
  local start = math.max(now, born + settle)
  if pace > 0 then start = math.max(start, latest - headroom + pace) end
  for _, rate in ipairs(rates) do
    local nth = redis.call('LINDEX', rate.key, -rate.amount)
    if nth then start = math.max(start, tonumber(nth) + rate.window + 1) end
    -- What was forgotten may have been reserved up to the horizon, with the largest headroom.
    if wiped then start = math.max(start, born + horizon + LARGEST + rate.window + 1) end
  end
  return math.ceil(start)
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
  local start = earliest()
  if start > now + horizon then
    answer[3] = text(start - horizon)
    break
  end
  latest = math.max(latest, start + headroom) -- ascending, also when processes' headrooms differ
  for _, rate in ipairs(rates) do redis.call('RPUSH', rate.key, text(latest)) end
  answer[#answer + 1] = text(start)
end
for _, rate in ipairs(rates) do
  redis.call('LTRIM', rate.key, -rate.amount, -1)
  redis.call('PEXPIRE', rate.key, math.ceil((rate.window + horizon + headroom) / 1000) + 1000)
end
return answer
