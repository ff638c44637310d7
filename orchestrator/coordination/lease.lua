-- Renews one process's share of an API's slots. The allowances of all live holders together stay
-- within the limit; shares follow demand and what the holders are entitled to, and what is left over
-- goes round.
--
-- KEYS: generation, holders (hash: holder -> "<allowance> <wanted> <expires, microseconds> <limit>"),
--       crowd (hash, see reserve.lua: "e:<holder>" -> "<entitled, millionths> …")
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

-- What its tenants are entitled to where they wait; as one tenant, when nobody waits there.
local function weight_of(name)
  local said = redis.call('HGET', KEYS[3], 'e:' .. name)
  local entitled = tonumber(said and string.match(said, '^%d+') or 0)
  return entitled > 0 and entitled or 1000000
end

local taken = 0
local demands = { { wanted = wanted, holder = holder, weight = weight_of(holder) } }
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
      demands[#demands + 1] =
        { wanted = tonumber(wants), holder = known[i], weight = weight_of(known[i]) }
    end
  end
end

-- Smallest demand for its weight first, each gets what it wants as long as that is at most its share
-- of what is left; the others share by weight. What does not divide goes round in turns, so that a
-- limit below the number of processes starves nobody. Turns go by name: a place that depends on what
-- is wanted moves when somebody has been served, and may move away from a turn whenever it comes.
local function fair_share()
  table.sort(demands, function(a, b)
    local of_a, of_b = a.wanted * b.weight, b.wanted * a.weight
    if of_a ~= of_b then return of_a < of_b end
    return a.holder < b.holder
  end)
  local left, weights = limit, 0
  for _, demand in ipairs(demands) do weights = weights + demand.weight end
  for i, demand in ipairs(demands) do
    if demand.wanted * weights > left * demand.weight then
      local odd, sharers, share, place = left, #demands - i + 1, nil, 0
      for j = i, #demands do
        local part = math.floor(left * demands[j].weight / weights)
        odd = odd - part
        if demands[j].holder == holder then share = part end
        if demands[j].holder < holder then place = place + 1 end
      end
      if not share then return wanted, false end -- it came before the others
      local mine = (place + math.floor(now / turn)) % sharers < odd and 1 or 0
      return share + mine, odd > 0
    end
    left, weights = left - demand.wanted, weights - demand.weight
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
