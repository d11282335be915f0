-- Look at one key that has the name of a session, and mend it if asked.
--
-- KEYS[1]  the key
-- ARGV[1]  'mend', or 'look'
-- ARGV[2]  absolute lifetime in seconds; '' for none
-- ARGV[3]  idle lifetime in seconds, for a session that has none of its own
--
-- Replies {state, now, ttl, born, seen, user}. The state is
--   none      nothing is there, or the tombstones of a session that ended a moment ago
--   other     the key is of another type
--   broken    no cookie can open it; 'mend' deletes it
--   overdue   it has no expiry and should have ended by now; 'mend' deletes it
--   endless   it has no expiry; 'mend' gives it one
--   sound     nothing is wrong
-- ttl is how long it will live, or should, in milliseconds. After 'overdue', 'endless' and 'sound'
-- all of it is there, before that the state alone.
--
-- Each commit changes a session in one script, so this one never sees half of a change.

local key, mends = KEYS[1], ARGV[1] == 'mend'
local MANY = 1000

local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' then
  return {kind == 'none' and 'none' or 'other'}
end

-- To look at all fields of a very large session would take too long.
local function opens()
  if redis.call('HLEN', key) > MANY then
    return true
  end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 8) == '@secret:' and redis.call('HGET', key, field) == mark(string.sub(field, 9)) then
      return true
    end
  end
  return false
end

local held = redis.call('HMGET', key, '@born', '@seen', '@idle', '@user', '@signed')
local born, seen, user = number(held[1]), number(held[2]), held[4]
local left = redis.call('PTTL', key)
if not held[1] and left >= 0 and left <= TOMBSTONE * 1000 then
  return {'none'}
end
if not born or not opens() then
  if mends then
    redis.call('UNLINK', key)
  end
  return {'broken'}
end

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local function reply(state, ttl)
  local function text(at)
    return string.format('%.3f', at)
  end
  return {state, text(now), text(ttl), text(born), text(seen or born), user}
end

local ttl = redis.call('PTTL', key)
if ttl >= 0 then
  return reply('sound', ttl)
end
local expires = (seen or born) + (lifetime_of(held[3]) or tonumber(ARGV[3]))
if ARGV[2] ~= '' then
  expires = math.min(expires, (number(held[5]) or born) + tonumber(ARGV[2]))
end
if expires > now + LONGEST then
  -- One of the numbers is damaged, and Redis would refuse such an expiry.
  expires = now + tonumber(ARGV[3])
end
if expires <= now then
  if mends then
    redis.call('UNLINK', key)
  end
  return reply('overdue', 0)
end
if mends then
  redis.call('PEXPIREAT', key, string.format('%d', math.floor(expires * 1000)))
end
return reply('endless', math.floor((expires - now) * 1000))
