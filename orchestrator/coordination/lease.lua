-- Renews one process's share of an API's slots. The allowances of all live holders together stay
-- within the limit; shares follow demand, and what is left over goes round.
--
-- KEYS: generation, holders (hash: holder -> "<allowance> <wanted> <expires, microseconds> <limit>")
-- ARGV: holder, known, new_id, distrust, limit, wanted, held, ttl, settle, turn, rightful,
--       expires, told (durations in microseconds; rightful: what of `held` it was told to be its own,
--       until expires by this server's clock; told: its limit for the others, 0: it is leaving)
-- Answers: now, generation, allowance, share, microseconds until the share may change by itself
--       (0: never)
--
-- An allowance never falls below `held`: between this call and its answer the holder may fill all it
-- holds. It learns its share, stays within it from then on, and holds less at its next call.
--
-- While a change of the limit has not reached all holders, the lowest of theirs holds for all.

local holder, limit = ARGV[1], tonumber(ARGV[5])
local wanted, held = tonumber(ARGV[6]), tonumber(ARGV[7])
local ttl, settle, turn = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local rightful, expires = tonumber(ARGV[11]), tonumber(ARGV[12])
local told = tonumber(ARGV[13])
local now = microseconds()
local id, born, wiped = generation(KEYS[1], ARGV[2], ARGV[3], ARGV[4], now)

local taken, demands = 0, { { wanted = wanted, holder = holder } }
local known = redis.call('HGETALL', KEYS[2])
for i = 1, #known, 2 do
  if known[i] ~= holder then
    local allowance, wants, expires, theirs =
      string.match(known[i + 1], '^(%d+) (%d+) (%d+) (%d+)$')
    if tonumber(expires) <= now then
      redis.call('HDEL', KEYS[2], known[i])
    else
      taken = taken + tonumber(allowance)
      if tonumber(theirs) > 0 then limit = math.min(limit, tonumber(theirs)) end
      demands[#demands + 1] = { wanted = tonumber(wants), holder = known[i] }
    end
  end
end

-- Smallest demand first, each gets what it wants as long as that is at most an equal share of what
-- is left; the others share equally. What does not divide goes round in turns, so that a limit
-- below the number of processes starves nobody.
local function fair_share()
  table.sort(demands, function(a, b)
    if a.wanted ~= b.wanted then return a.wanted < b.wanted end
    return a.holder < b.holder
  end)
  local left = limit
  for i, demand in ipairs(demands) do
    local sharers = #demands - i + 1
    if demand.wanted * sharers > left then
      local share, odd = math.floor(left / sharers), left % sharers
      local first = math.floor(now / turn)
      for j = i, #demands do
        if demands[j].holder == holder then
          local mine = (j - i + first) % sharers < odd and 1 or 0
          return share + mine, odd > 0
        end
      end
      return wanted, false -- it came before the others
    end
    left = left - demand.wanted
  end
  return wanted + math.floor(left / #demands), false
end

local share, turns = fair_share()
-- Negative, or less than `held`, when this holder was cut off for longer than its lease and others
-- have its slots: what it holds may then run empty and not be filled again.
local left = math.max(0, limit - taken)
if left < held then share = math.min(share, left) end
local allowance = math.max(held, math.min(share, left))
if now < born + (wiped and ttl or settle) then
  -- Others may hold what nobody has told us yet; and all of what this one holds beyond its right.
  allowance, share = held, now < expires and math.min(held, rightful) or 0
end
redis.call('HSET', KEYS[2], holder,
  text(allowance) .. ' ' .. text(wanted) .. ' ' .. text(now + ttl) .. ' ' .. text(told))
local kept = math.ceil(ttl / 500) -- somebody who has left may hold slots for longer
if redis.call('PTTL', KEYS[2]) < kept then redis.call('PEXPIRE', KEYS[2], kept) end
return { text(now), id, allowance, share, turns and turn - now % turn or 0 }
