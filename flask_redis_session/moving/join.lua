-- Give a session that an old one became a further secret, for a request that came with the old
-- cookie too. It stands behind secrets.lua.
--
-- KEYS[1]  the session hash
-- ARGV[1]  digest of the further secret
--
-- Replies {what, mark}: 'joined', or 'refused' if the session ended, rotated, or changed its user
-- since. Whoever has the old cookie could have left it in a browser in which somebody else then
-- signed in. The mark shows that the reply is the one to this command.

local MOST_SECRETS = 64 -- of requests that came at once

local key, fresh = KEYS[1], ARGV[1]
local refused = {'refused', mark(fresh)}
local held = redis.pcall('HMGET', key, '@born', '@signed')
if is_refused(held) then
  return held
end
-- A sign-in, a sign-out and a change of user each write @signed, also if nothing rotates.
if held.err or not number(held[1]) or held[2] then
  return refused
end
local live = 0
for _, field in ipairs(redis.call('HKEYS', key)) do
  if string.sub(field, 1, 8) == '@secret:' then
    live = live + 1
    if number(redis.call('HGET', key, field)) then
      return refused
    end
  end
end
if live >= MOST_SECRETS then
  return refused
end
redis.call('HSET', key, '@secret:' .. fresh, mark(fresh))
return {'joined', mark(fresh)}
