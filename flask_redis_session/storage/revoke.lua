-- End one session, if it still is this user's and as old as asked.
--
-- KEYS[1]  the session hash
-- ARGV[1]  the user; '' for nobody
-- ARGV[2]  last seen before this, in epoch seconds; '' for at any time
-- ARGV[3]  created before this, in epoch seconds; '' for at any time
-- ARGV[4]  signed in before this, in epoch seconds; '' for at any time
-- ARGV[5]  'own' if the request that revokes it came with its cookie; '' otherwise
--
-- Replies {what, key}: 1 if it was ended, 0 if there is no such session, -1 if it stays. The key
-- shows that the reply is the one to this command.

local key = KEYS[1]
local held = redis.pcall('HMGET', key, '@user', '@seen', '@born', '@signed')
if is_refused(held) then
  return held
elseif held.err then
  return {0, key}
end
if not held[3] then
  -- It is no session: nothing, tombstones, or the damaged rest of one, which nobody can use.
  if held[1] and held[1] == ARGV[1] then
    redis.call('UNLINK', key)
  end
  return {0, key}
end
if (held[1] or '') ~= ARGV[1] then
  return {-1, key}
end
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

-- A time in the future counts as now: the server's clock had jumped.
local function is_too_new(at, limit)
  local known = number(at)
  return limit ~= '' and known and math.min(known, now) >= tonumber(limit)
end
if is_too_new(held[2], ARGV[2]) or is_too_new(held[3], ARGV[3])
  or is_too_new(held[4], ARGV[4]) then
  return {-1, key}
end
if ARGV[5] == 'own' then
  bury(key, now)
else
  redis.call('UNLINK', key)
end
return {1, key}
