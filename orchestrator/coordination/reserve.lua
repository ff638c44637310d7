-- Reserves start times for requests to one API so that none of its rates is exceeded, however the
-- requests of all processes are delayed on their way by up to their headroom.
--
-- One list keeps, ascending, the moments until which the last requests may arrive ("latest"), for
-- all rates: a request may start when the amount-th last of them lies a full window back. The list
-- knows no rates, so a rate that is changed or added counts what was let in before.
--
-- KEYS: generation, queue (hash: holder -> "<waiting> <expires>"),
--       pace (hash: "start" -> the newest start time; "even" -> when the next would start if none
--       had been lost; apart from the log, in which older releases expect nothing else),
--       crowd (hash: "w:<holder>" -> what it has waiting of each tenant, "t:<tenant>" -> the sum over
--       all of them, "e:<holder>" -> "<entitled> <credit> <given>", "given" -> start times so far),
--       then for the API and for each part latest (list) and log (hash: "last" -> the newest of the list; "lost" -> the newest that the
--       list lost; "<amount>:<window>" -> until when that rate is in force) and counted (hash: "since" -> generation,
--       "total" -> start times so far, "upto" -> how many there may be, "until" -> so long;
--       "from", "at" -> how many there were, and when, as that was learnt)
-- ARGV: holder, known, new_id, distrust, settle, waiting, count, horizon, headroom,
--       pace and rates as {"pace": 0, "closest": 0, "rates": [[amount, window], …], "advance": how
--       many start times one allows at most, 0: they are not counted, "upto": what is written, "ago": since
--       when, "past": {"total": 0, "moments": [[age, number], …]}} of the API and of
--       each part in one list, and the parts of each request, from 0, as [[0, 1], [], …] ('' where there are none),
--       what this process has waiting as [[tenant, number, weight], …] ('' where it does not say so),
--       those that are given back as [[mark, [[part, mark], …]], …] ('' where there are none)
--       (durations in microseconds; pace 0: none; closest: the pace while less was used than wanted)
-- Answers: now, generation, next_at, share, waiting elsewhere, the start times, for each of them
--       the number of its request, for each part its next_at, the mark of each start time (0: none),
--       of each tenant that was named the part that waits here (parts and shares in millionths),
--       of the API and of each part [total (-1: unknown), upto, upto wanted (0: none)] or [],
--       for each start time its marks in its parts, in the order in which they were wanted
--
-- A start's mark is its moment in the API's list, and in those of its parts; no two of one list are
-- the same, so a call that is repeated gives nothing back twice. What is given back was not used and
-- counts no more: those who come next find room in the windows, and at the API follow each other a
-- little more closely until it is used up.
--
-- A process is entitled to the sum, over the tenants that wait in it, of the tenant's weight times
-- the part of its waiting that is here. Its credit grows by its share of what is given to anybody and
-- falls by what it is given itself (deficit round robin, Shreedhar and Varghese 1996). Who is behind
-- by more than one helping gets only what nobody else has asked for in time: start times in the
-- nearer half of the horizon. So nothing is left unused for the sake of one that does not want it.
--
-- While processes disagree about the rates, because a change has not reached all of them, what each
-- of them asks for holds for all. Who is kept back by a rate that is not its own asks again when that
-- may have gone out of force.

local PRESENT = 2000000 -- a process that asked within two seconds counts as waiting
local LARGEST = 1000000 -- no process asks for more headroom than a second
local KEPT = 10000 -- moments of an API, for rates that are added later
local SPARE = 100 -- moments of a part beyond its rates, since some are given back
local KEPT_FOR = 86400000000 -- at least a day
local MILLION = 1000000
local USUAL = 16 -- start times in half the horizon, where they are not spaced
local SHORT = 10000000 -- longer windows are counted; see limits.py
local ADVANCED = 6000000 -- an advance is to last for about so long
local LEAST_ADVANCE = 1 / 20 -- of the largest
local UNWRITTEN = 1000000 -- for so long start times are out of sight that no advance allows
local AHEAD = 50000 -- so far a part may hold up the API's own start times; no process lives closer
local holder, settle, waiting = ARGV[1], tonumber(ARGV[5]), tonumber(ARGV[6])
local count, horizon, headroom = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local now = microseconds()
local id, born, wiped = generation(KEYS[1], ARGV[2], ARGV[3], ARGV[4], now)

local function remember(book, amount, window)
  book.most, book.longest = math.max(book.most, amount), math.max(book.longest, window)
  return { amount = amount, window = window }
end

local function read_log(book, rates)
  local own, fields = {}, redis.call('HGETALL', book.log)
  for _, rate in ipairs(rates) do
    own[text(rate[1]) .. ':' .. text(rate[2])] = true
    book.rates[#book.rates + 1] = remember(book, rate[1], rate[2])
    book.shortest = math.min(book.shortest, rate[2])
  end
  for i = 1, #fields, 2 do
    local field, value = fields[i], tonumber(fields[i + 1])
    local amount, window = string.match(field, '^(%d+):(%d+)$')
    if field == 'last' then
      book.last = value
    elseif field == 'lost' then
      book.lost = value
    elseif value + window <= now or value > now + PRESENT then -- or this server's clock went back
      redis.call('HDEL', book.log, field)
    else -- what it needs is kept for a window, lest going back to it had to wait for one
      local rate = remember(book, tonumber(amount), tonumber(window))
      if value > now and not own[field] then
        book.theirs[#book.theirs + 1] = rate
        book.theirs_until = math.max(book.theirs_until, value)
      end
    end
  end
  for rate in pairs(own) do redis.call('HSET', book.log, rate, text(now + PRESENT)) end
end

local function open(number, limits)
  local part = number > 1
  local book = {
    list = KEYS[3 * number + 2], log = KEYS[3 * number + 3], counted = KEYS[3 * number + 4],
    part = part, pace = limits.pace, advance = limits.advance, upto = 0, good_until = 0,
    from = 0, at = 0,
    closest = limits.closest, rates = {}, theirs = {}, theirs_until = 0, last = 0, lost = 0,
    last_start = 0, even = 0, shortest = math.huge,
    most = part and 1 or KEPT, longest = part and 0 or KEPT_FOR,
  }
  read_log(book, limits.rates)
  if part then
    book.last_start = math.max(book.last - headroom, 0)
  else
    local known = redis.call('HMGET', KEYS[3], 'start', 'even')
    book.last_start, book.even = tonumber(known[1] or 0), tonumber(known[2] or 0)
  end
  book.length = redis.call('LLEN', book.list)
  -- It was given up, unused for so long.
  if book.length == 0 then book.lost = math.max(book.lost, book.last) end
  return book
end

local asked = cjson.decode(ARGV[10])
local books = {}
for number, limits in ipairs(asked) do books[number] = open(number, limits) end
local api = books[1]

for _, book in ipairs(books) do
  if book.last > now + horizon + 10000000 then
    -- Nothing is reserved that far ahead: this server's clock went back. Begin anew, carefully.
    redis.call('DEL', book.list)
    id, born, wiped = renew_generation(KEYS[1], ARGV[3], now, true)
    book.last, book.lost, book.length, book.last_start, book.even = 0, 0, 0, 0, 0
  end
end

local function longest_counted(book)
  local longest = 0
  for _, rate in ipairs(book.rates) do longest = math.max(longest, rate.window) end
  return longest
end

-- Fill the list with what was let out before, each as late as it can have been. What is in it
-- already was so since the loss, but for what a server has kept that is trusted no more: the past
-- has that, too.
local function fill(book, moments)
  local skip, longest, last, known = 0, longest_counted(book), 0, false
  local present = redis.call('LRANGE', book.list, 0, -1)
  for _, rate in ipairs(book.rates) do skip = math.min(skip, -rate.amount) end
  for _, each in ipairs(moments) do skip = skip + each[2] end
  redis.call('DEL', book.list)
  for _, each in ipairs(moments) do
    local moment, count = now - each[1] + horizon + LARGEST, each[2]
    local useless = math.min(math.max(skip, 0), count) -- more than any rate asks for
    if moment + longest <= now then useless = count end
    if useless > 0 then book.lost = math.max(book.lost, moment) end
    skip, known = skip - useless, known or useless < count
    for _ = useless + 1, count do
      last = math.max(last + 1, moment)
      redis.call('RPUSH', book.list, text(last))
    end
  end
  for _, moment in ipairs(present) do
    if tonumber(moment) > born then
      last = math.max(last + 1, tonumber(moment))
      redis.call('RPUSH', book.list, text(last))
    end
  end
  book.last, book.length = math.max(book.last, last), redis.call('LLEN', book.list)
  return known
end

local function learn(book, past)
  book.total = past.total
  if book.length > 0 and not wiped then -- nothing was lost; it was not counted before
    book.total = book.total + book.length
  elseif fill(book, past.moments) and not wiped then -- nobody is left who could have told
    id, born, wiped = renew_generation(KEYS[1], id, born, true)
  end
  book.upto, book.from, book.at = book.total, book.total, now
end

local function count_on(book, limits)
  local known = redis.call('HMGET', book.counted, 'since', 'total', 'upto', 'until', 'from', 'at')
  if known[1] == id then
    book.total, book.upto = tonumber(known[2]), tonumber(known[3])
    book.good_until, book.from, book.at = tonumber(known[4]), tonumber(known[5]), tonumber(known[6])
  elseif book.advance > 0 and limits.past then
    learn(book, limits.past)
  end
  if book.total and limits.upto > 0 and limits.upto >= book.upto then
    -- Well within the window that an advance is good for: this call was under way for a while.
    local good_until = now - limits.ago + longest_counted(book) * 3 / 4
    if limits.upto > book.upto then
      book.from, book.at = book.total, now
    else
      good_until = math.max(good_until, book.good_until)
    end
    book.upto, book.good_until = limits.upto, good_until
  end
end

for number, book in ipairs(books) do count_on(book, asked[number]) end

local function take_back(book, mark) -- whether it was there
  if book.length == 0 or mark == 0 then return false end
  local removed = redis.call('LREM', book.list, -1, text(mark)) -- they are among the newest
  book.length = book.length - removed
  if book.length == 0 then book.last = book.lost end -- nothing that was used is younger
  if not book.part then book.even = math.max(book.even - removed * book.pace, 0) end
  return removed > 0
end

local function take_all_back(unused)
  local number = 0
  for _, each in ipairs(unused) do
    local was_there = take_back(api, each[1])
    for _, of_part in ipairs(each[2]) do
      was_there = take_back(books[of_part[1] + 2], of_part[2]) or was_there
    end
    if was_there then number = number + 1 end
  end
  return number
end

local taken_back = 0
-- Not marks of another generation: they may name others' moments.
if ARGV[13] ~= '' and id == ARGV[2] then taken_back = take_all_back(cjson.decode(ARGV[13])) end

-- The newest of those that must lie a full window back; when the list does not reach back so far,
-- whatever it lost may be one of them.
local function nth_last(book, amount)
  if amount <= book.length then return tonumber(redis.call('LINDEX', book.list, -amount)) end
  return book.lost > 0 and book.lost or nil
end

local function after(book, start, limits)
  for _, rate in ipairs(limits) do
    local nth = nth_last(book, rate.amount)
    if nth then start = math.max(start, nth + rate.window + 1) end
    -- What was forgotten may have been reserved up to the horizon, with the largest headroom.
    if wiped and not (book.total and rate.window > SHORT) then
      start = math.max(start, born + horizon + LARGEST + rate.window + 1)
    end
  end
  return math.ceil(start)
end

-- At an even distance; a little closer while the line is behind what it could have used.
local function paced(book, start)
  if book.pace == 0 then return start end
  local even = math.min(book.even, book.last_start + book.pace)
  return math.ceil(math.max(start, book.last_start + book.closest, even))
end

local function may_go_on(book) -- as far as is written
  return book.total and book.total < book.upto and now < book.good_until
end

local function allowed(book) -- by its own rates
  local start = after(book, math.max(now, born + settle), book.rates)
  if book.advance > 0 and not may_go_on(book) then start = math.max(start, now + UNWRITTEN) end
  return start
end

local function earliest(book) -- as its own rates have it, and as all have it
  if book.own then return book.own, book.all end
  book.own = paced(book, allowed(book))
  book.all = after(book, book.own, book.theirs)
  return book.own, book.all
end

local function next_at(book, ahead) -- before that it has nothing to give
  local own, start = earliest(book)
  if #book.theirs == 0 then return start - ahead end
  return math.min(start - ahead, math.max(own - ahead, book.theirs_until))
end

local was_wanted = false -- whether anybody waited before

local function record(book, start)
  -- Ascending, also when processes' headrooms differ.
  book.last = math.max(book.last + 1, start + headroom)
  book.last_start = math.max(book.last_start, start)
  if book.total then book.total = book.total + 1 end
  if not book.part then
    book.even = math.max(book.even, was_wanted and start - book.shortest or start) + book.pace
    was_wanted = true
  end
  book.length = redis.call('RPUSH', book.list, text(book.last))
  book.own = nil
end

local function close(book)
  local most = book.part and book.most + SPARE or book.most
  if book.length > most then
    book.lost = tonumber(redis.call('LINDEX', book.list, -most - 1))
    redis.call('LTRIM', book.list, -most, -1)
  end
  local kept_for = math.ceil((book.longest + horizon + headroom) / 1000) + 1000
  redis.call('PEXPIRE', book.list, kept_for)
  redis.call('HSET', book.log, 'last', text(book.last), 'lost', text(book.lost))
  if not book.part then
    redis.call('HSET', KEYS[3], 'start', text(book.last_start), 'even', text(book.even))
  end
  if book.part then redis.call('PEXPIRE', book.log, kept_for + LARGEST / 1000) end
  if book.total then
    redis.call('HSET', book.counted, 'since', id, 'total', text(book.total),
      'upto', text(book.upto), 'until', text(book.good_until), 'from', text(book.from),
      'at', text(book.at))
    -- Not sooner than what the latest advance allows is too old to matter.
    if book.part then redis.call('PEXPIRE', book.counted, 2 * kept_for) end
  end
end

local function next_advance(book) -- by how fast the present one is used up
  local lately = math.ceil((book.total - book.from) * ADVANCED / math.max(now - book.at, 1))
  return math.max(math.min(lately, book.advance), math.ceil(book.advance * LEAST_ADVANCE))
end

local function standing(book) -- of its counter
  if book.advance == 0 then return {} end
  if not book.total then return { '-1', '0', '0' } end
  local due = book.upto - book.total <= math.floor((book.upto - book.from) / 2)
    or now + longest_counted(book) / 4 >= book.good_until
  local upto = may_go_on(book) and book.upto or book.total
  return { text(book.total), text(upto), due and text(book.total + next_advance(book)) or '0' }
end

local function waits_no_more(name, tenants)
  for tenant, waits in pairs(tenants) do
    if redis.call('HINCRBY', KEYS[4], 't:' .. tenant, text(-waits)) <= 0 then
      redis.call('HDEL', KEYS[4], 't:' .. tenant)
    end
  end
end

local function said_by(name)
  local said = redis.call('HGET', KEYS[4], 'w:' .. name)
  return said and cjson.decode(said) or {}
end

local function forget(name)
  redis.call('HDEL', KEYS[2], name)
  waits_no_more(name, said_by(name))
  redis.call('HDEL', KEYS[4], 'w:' .. name, 'e:' .. name)
end

local function others() -- how many wait, in how many processes, what those are entitled to
  local processes, elsewhere, before, entitled = 0, 0, 0, 0
  local known = redis.call('HGETALL', KEYS[2])
  for i = 1, #known, 2 do
    local waits, expires = string.match(known[i + 1], '^(%d+) (%d+)$')
    waits = tonumber(waits)
    if tonumber(expires) <= now then
      forget(known[i])
    else
      before = before + waits
      if known[i] ~= holder and waits > 0 then
        processes, elsewhere = processes + 1, elsewhere + waits
        local theirs = redis.call('HGET', KEYS[4], 'e:' .. known[i])
        theirs = tonumber(theirs and string.match(theirs, '^%d+') or 0)
        -- It may be of an older release, which does not say whose requests wait in it.
        entitled = entitled and theirs > 0 and entitled + theirs or nil
      end
    end
  end
  return processes, elsewhere, before > 0, entitled
end

local function say(tenants) -- what this process is entitled to, and its part of each tenant
  local before, said, mine, parts = said_by(holder), {}, 0, {}
  for place, each in ipairs(tenants) do
    local tenant, waits, weight = each[1], each[2], each[3]
    local more = text(waits - (before[tenant] or 0))
    local total = redis.call('HINCRBY', KEYS[4], 't:' .. tenant, more)
    parts[place] = math.floor(waits * MILLION / math.max(total, waits))
    mine = mine + math.max(math.floor(weight * parts[place]), 1)
    said[tenant], before[tenant] = waits, nil
  end
  waits_no_more(holder, before)
  redis.call('HSET', KEYS[4], 'w:' .. holder, cjson.encode(said))
  return mine, parts
end

local function share_of(mine, entitled, processes) -- of the start times
  if entitled and mine > 0 then return mine / (mine + entitled) end
  return 1 / (processes + 1)
end

local tenants = ARGV[12] ~= '' and cjson.decode(ARGV[12]) or {}
local processes, elsewhere, entitled
processes, elsewhere, was_wanted, entitled = others()
local mine, parts_here = say(tenants)
local share = share_of(mine, entitled, processes)
redis.call('HSET', KEYS[2], holder, text(waiting) .. ' ' .. text(now + PRESENT))
redis.call('PEXPIRE', KEYS[2], 2 * PRESENT / 1000)
if not was_wanted or api.closest == api.pace then -- there is nothing to make up for
  api.even = math.max(api.last_start + api.pace, allowed(api))
end
local answer = {
  text(now), id, '0', text(math.floor(share * MILLION)), elsewhere, {}, {}, {}, {}, parts_here, {}, {},
}
local starts, given, parts_next_at, marks = answer[6], answer[7], answer[8], answer[9]
local marks_of_parts = answer[12]
local wanted = ARGV[11] ~= '' and cjson.decode(ARGV[11]) or nil
local rated = #api.rates > 0 or #api.theirs > 0
local ahead = rated and AHEAD or horizon

local pending = {}
for number = 1, wanted and #wanted or count do pending[number] = number end

local function start_of(number, start) -- as the API and its parts have it
  for _, part in ipairs(wanted and wanted[number] or {}) do
    local _, of_part = earliest(books[part + 2])
    start = math.max(start, of_part)
  end
  return start
end

local function give(start) -- to the first that does not keep the API's start times waiting
  for place, number in ipairs(pending) do
    local own = start_of(number, start)
    if own <= math.max(start, now + ahead) then
      if rated then record(api, own) end
      local of_parts = {}
      for _, part in ipairs(wanted and wanted[number] or {}) do
        record(books[part + 2], own)
        of_parts[#of_parts + 1] = text(books[part + 2].last)
      end
      starts[#starts + 1], given[#given + 1] = text(own), number - 1
      marks[#marks + 1], marks_of_parts[#starts] = rated and text(api.last) or '0', of_parts
      table.remove(pending, place)
      return true
    end
  end
  return false
end

local given_to_all = tonumber(redis.call('HGET', KEYS[4], 'given') or 0)

local function credit() -- in millionths of a start time
  local known = redis.call('HGET', KEYS[4], 'e:' .. holder) or '0 0 ' .. text(given_to_all)
  local _, left, given_then = string.match(known, '^(%d+) (%-?%d+) (%-?%d+)$')
  local usual = api.pace > 0 and math.ceil(horizon / 2 / api.pace) or USUAL
  local grown = left + math.floor(share * (given_to_all - given_then) * MILLION)
  return math.max(math.min(grown, 2 * usual * MILLION), -2 * usual * MILLION)
end

local helping = math.ceil(count * share)
local saved = credit()
if saved <= -helping * MILLION then
  local _, start = earliest(api)
  helping = 0
  if start <= now + horizon / 2 then helping = math.ceil(count / (processes + 1)) end
  if count > 0 and helping == 0 then answer[3] = text(next_at(api, horizon / 2)) end
end
while #starts < helping do
  local _, start = earliest(api)
  if start > now + horizon then
    answer[3] = text(next_at(api, horizon))
    break
  end
  if not give(start) then break end
end

local more = #starts - taken_back
redis.call('HSET', KEYS[4], 'given', text(given_to_all + more), 'e:' .. holder,
  table.concat({ text(mine), text(saved - more * MILLION), text(given_to_all) }, ' '))
redis.call('PEXPIRE', KEYS[4], 2 * PRESENT / 1000)
-- Who asks when the API's own start times reach so far gets one without a gap.
if rated then
  local _, start = earliest(api)
  ahead = math.min(math.max(ahead, start - now), horizon)
end
for number = 2, #books do parts_next_at[number - 1] = text(next_at(books[number], ahead)) end
local counted = {}
for number, book in ipairs(books) do
  close(book)
  counted[number] = standing(book)
end
answer[11] = counted
return answer
