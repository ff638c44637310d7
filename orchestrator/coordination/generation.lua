-- Put before the other scripts. Tells how long what this database remembers of an API can be
-- trusted: a generation is born when the database knows nothing of the API, that is at the first
-- use ever, or after a wipe. Whoever knew another generation tells us that it was a wipe.
--
-- Nor does it outlive the server process that it was born in: one that was started again may have
-- read a file without the last second, a replica that took over may have lagged behind, and neither
-- knows what it does not know. So that counts as a wipe, whatever is there.
--
-- Value: "<id>.<run_id of the server>:<born, microseconds>:<1 if wiped>". It never expires.

local function microseconds()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function text(number)
  return string.format('%.0f', number) -- tostring would round to 14 digits
end

local function this_server()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

local function renew_generation(key, id, now, wiped)
  id = string.match(id, '^[^.]+') .. '.' .. this_server()
  redis.call('SET', key, id .. ':' .. text(now) .. ':' .. (wiped and '1' or '0'))
  return id, now, wiped
end

-- known: the generation that the caller saw last ('' none); new_id: for a new one; distrust: '1'
-- when the caller saw this server's clock jump within the generation it knows.
local function generation(key, known, new_id, distrust, now)
  local value = redis.call('GET', key)
  if not value then
    return renew_generation(key, new_id, now, known ~= '')
  end
  local id, born, wiped = string.match(value, '^([^:]+):(%d+):(%d)$')
  -- An id without a server is of a release that did not look.
  local moved = string.match(id, '%.(%x+)$') ~= this_server()
  if moved or (distrust == '1' and known == id) then
    return renew_generation(key, new_id, now, true)
  end
  if known ~= '' and known ~= id and wiped == '0' then
    return renew_generation(key, id, tonumber(born), true)
  end
  return id, tonumber(born), wiped == '1'
end
