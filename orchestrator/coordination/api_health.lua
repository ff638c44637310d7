-- One process reports what it saw of an API and is told how it stands. `core/health.py` says what
-- this means; `HealthBook.report` is this script line by line, constants included.
--
-- KEYS: health (hash: fields of the book; "s:<second>" -> "<calls> <failures> <slow> <retries>";
--       "r:<holder>" -> "<number> <probes> <heard at>")
-- ARGV: holder, new_id, then the rules: failure_rate, slow_rate, calls, open, longest_open, probes,
--       longest_pause, then the news: episode, number, calls, failures, slow, retries, throttled,
--       pause, probes_held, probes_wanted, probes_good, probes_bad (durations in microseconds)
-- Answers: state, episode, microseconds open, microseconds paused, probes, pace, cuts,
--       microseconds since it closed, calls, retries, generation

local WINDOW, LATEST, PROBE, FORGET = 10, 2, 2000000, 60000000
local CUT, CUT_APART, LOWEST, RISE = 0.7, 1000000, 0.05, 0.02
local FIRST_CUT, CALM = 0.98, 10000000
local NEVER = 1000000000000000

local function microseconds()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function text(number)
  return string.format('%.17g', number) -- tostring would round to 14 digits
end

local holder, new_id = ARGV[1], ARGV[2]
local failure_rate, slow_rate, enough = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local open_for, longest_open = tonumber(ARGV[6]), tonumber(ARGV[7])
local most_probes, longest_pause = tonumber(ARGV[8]), tonumber(ARGV[9])
local news = {
  episode = tonumber(ARGV[10]), number = tonumber(ARGV[11]), calls = tonumber(ARGV[12]),
  failures = tonumber(ARGV[13]), slow = tonumber(ARGV[14]), retries = tonumber(ARGV[15]),
  throttled = ARGV[16] == '1', pause = tonumber(ARGV[17]), held = tonumber(ARGV[18]),
  wanted = tonumber(ARGV[19]), good = tonumber(ARGV[20]), bad = tonumber(ARGV[21]),
}
local now = microseconds()
local this_second = math.floor(now / 1000000)

local book, seconds, reporters, gone = {}, {}, {}, {}
local known = redis.call('HGETALL', KEYS[1])
for i = 1, #known, 2 do
  local kind, name = string.match(known[i], '^([sr]):(.*)$')
  if kind == 's' then
    local second = tonumber(name)
    if this_second - WINDOW < second and second <= this_second then
      local calls, failures, slow, retries =
        string.match(known[i + 1], '^(%d+) (%d+) (%d+) (%d+)$')
      seconds[second] = { tonumber(calls), tonumber(failures), tonumber(slow), tonumber(retries) }
    else
      gone[#gone + 1] = known[i]
    end
  elseif kind == 'r' then
    local number, probes, heard_at = string.match(known[i + 1], '^(%d+) (%d+) (%d+)$')
    if math.abs(now - tonumber(heard_at)) > FORGET then
      gone[#gone + 1] = known[i]
    else
      reporters[name] = {
        number = tonumber(number), probes = tonumber(probes), heard_at = tonumber(heard_at),
      }
    end
  else
    book[known[i]] = known[i + 1]
  end
end
local id = book.id or new_id
local state = book.state or 'closed'
local function stored(name, default) return tonumber(book[name] or default) end
local episode, until_, opened, good, bad = stored('episode', 0), stored('until', 0), stored('opened', 0),
  stored('good', 0), stored('bad', 0)
local closed_at, pace, pace_at = stored('closed_at', -NEVER), stored('pace', 1), stored('pace_at', 0)
local cuts, cut_at, paused = stored('cuts', 0), stored('cut_at', -NEVER), stored('paused', 0)
local refused_at = stored('refused_at', -NEVER)

local function sum(column)
  local total = 0
  for _, second in pairs(seconds) do total = total + second[column] end
  return total
end

local function begin(new_state)
  state, episode, good, bad = new_state, episode + 1, 0, 0
  for second in pairs(seconds) do gone[#gone + 1] = 's:' .. second end
  seconds = {}
  for _, reporter in pairs(reporters) do reporter.probes, reporter.changed = 0, true end
end

local function open()
  opened = math.min(opened + 1, 32)
  begin('open')
  until_ = now + math.min(open_for * 2 ^ (opened - 1), longest_open)
end

local function is_ill()
  local calls, failures, slow = 0, 0, 0
  for age = 0, WINDOW - 1 do
    local second = seconds[this_second - age]
    if second then
      calls, failures, slow = calls + second[1], failures + second[2], slow + second[3]
    end
    if age + 1 >= LATEST and calls >= enough then
      return (failures > 0 and failures >= failure_rate * calls)
        or (slow > 0 and slow >= slow_rate * calls)
    end
  end
  return false
end

local function pass_time()
  -- Where a clock was set back, what was left of each time is left of it still; what was over is
  -- over, else an API of which all is well were shut until the clock is there again.
  local back = math.max(pace_at - now, 0)
  until_, paused, closed_at = until_ - back, paused - back, closed_at - back
  cut_at, refused_at = cut_at - back, refused_at - back
  -- And it may not leave anything shut for longer than the rules say.
  until_ = math.min(until_, now + longest_open)
  paused = math.min(paused, now + longest_pause)
  closed_at = math.min(closed_at, now)
  pace = math.min(1, pace + RISE * (math.max(now - pace_at, 0) / 1000000))
  pace_at = now
  if state == 'open' and now >= until_ then state, good, bad = 'half_open', 0, 0 end
end

local function hear_advice()
  paused = math.max(paused, now + math.min(news.pause, longest_pause))
  if not news.throttled then return end
  if now - cut_at >= CUT_APART then
    local cut = now - refused_at >= CALM and FIRST_CUT or CUT
    pace, cut_at, cuts = math.max(LOWEST, pace * cut), now, cuts + 1
  end
  refused_at = now
end

local function hear_calls()
  local second = seconds[this_second] or { 0, 0, 0, 0 }
  seconds[this_second] = {
    second[1] + news.calls, second[2] + news.failures, second[3] + news.slow,
    second[4] + news.retries,
  }
  if state == 'closed' and is_ill() then
    open()
  elseif state == 'half_open' then
    good, bad = good + news.good, bad + news.bad
    if bad > 0 and bad >= failure_rate * most_probes then
      open()
    elseif good + bad >= most_probes then
      begin('closed')
      opened, closed_at = 0, now
    end
  end
end

local function lease_probes()
  if state ~= 'half_open' then return 0 end
  local held, elsewhere = news.episode == episode and news.held or 0, 0
  for name, each in pairs(reporters) do
    if name ~= holder and math.abs(now - each.heard_at) < PROBE then elsewhere = elsewhere + each.probes end
  end
  return held + math.min(news.wanted, math.max(0, most_probes - elsewhere - held))
end

pass_time()
local before = reporters[holder]
if not (before and news.number ~= 0 and before.number == news.number) then
  hear_advice()
  if news.episode == episode then hear_calls() end
end
local probes = lease_probes()

if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
local fields = {
  'id', id, 'state', state, 'episode', text(episode), 'until', text(until_), 'opened', text(opened),
  'good', text(good), 'bad', text(bad), 'closed_at', text(closed_at), 'pace', text(pace), 'pace_at', text(pace_at),
  'cuts', text(cuts), 'cut_at', text(cut_at), 'refused_at', text(refused_at),
  'paused', text(paused),
  'r:' .. holder, text(news.number) .. ' ' .. text(probes) .. ' ' .. text(now),
}
local mine = seconds[this_second]
if mine then
  fields[#fields + 1] = 's:' .. text(this_second)
  fields[#fields + 1] = table.concat({
    text(mine[1]), text(mine[2]), text(mine[3]), text(mine[4]),
  }, ' ')
end
for name, each in pairs(reporters) do
  if each.changed and name ~= holder then
    fields[#fields + 1] = 'r:' .. name
    fields[#fields + 1] = text(each.number) .. ' 0 ' .. text(each.heard_at)
  end
end
redis.call('HSET', KEYS[1], unpack(fields))
-- Longer than anything in it counts.
redis.call('PEXPIRE', KEYS[1], math.ceil((longest_pause + longest_open) / 1000) + 60000)

local open_left = state == 'open' and until_ - now or 0
return {
  state, text(episode), text(open_left), text(math.max(paused - now, 0)), probes, text(pace), text(cuts),
  text(math.min(now - closed_at, NEVER)), text(sum(1)), text(sum(4)), id,
}
