-- Another token than the one the caller knows, or whose turn it is to fetch one.
--
-- KEYS: the token (a hash: version, sealed, expires in microseconds of this clock, refused), its lock
-- ARGV: owner, known version, '1' if an API has refused that one, lock's life in milliseconds
-- Answers: turn, version, sealed, microseconds left

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local found = redis.call('HMGET', KEYS[1], 'version', 'sealed', 'expires', 'refused')
local version, sealed, refused = found[1] or '', found[2] or '', found[4] == '1'
local left = version ~= '' and math.max(tonumber(found[3]) - now, 0) or 0

if version ~= '' and version == ARGV[2] and ARGV[3] == '1' and not refused then
  redis.call('HSET', KEYS[1], 'refused', '1')
  refused = true
end
if refused then
  left = 0
end
local function answer(turn)
  return { turn, version, sealed, string.format('%.0f', left) }
end

if version ~= ARGV[2] and left > 0 then
  return answer('use')
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[4]) then
  return answer('fetch')
end
-- The same wish once more: the answer to the first was lost on its way.
return answer(redis.call('GET', KEYS[2]) == ARGV[1] and 'fetch' or 'wait')
