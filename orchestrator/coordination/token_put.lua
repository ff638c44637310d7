-- Shares a new token and gives the lock back; 0 when others have gone on without the caller.
--
-- KEYS: the token, its lock (see token_take.lua)
-- ARGV: owner, version that was fetched on, new version, sealed, life in microseconds, milliseconds to keep

local holder = redis.call('GET', KEYS[2])
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version == ARGV[3] then
  return 1 -- the same once more
end
if holder ~= ARGV[1] and (holder or version ~= ARGV[2]) then
  return 0
end
local time = redis.call('TIME')
local expires = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[5])
redis.call('HSET', KEYS[1], 'version', ARGV[3], 'sealed', ARGV[4], 'expires', string.format('%.0f', expires))
redis.call('HDEL', KEYS[1], 'refused')
redis.call('PEXPIRE', KEYS[1], ARGV[6])
if holder == ARGV[1] then
  redis.call('DEL', KEYS[2])
end
return 1
