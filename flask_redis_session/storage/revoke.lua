-- End one session, if it still is this user's and as old as asked.
--
-- KEYS[1]  the session hash
-- ARGV[1]  the user; '' for nobody
-- ARGV[2]  last seen before this, in epoch seconds; '' for whenever
-- ARGV[3]  created before this, in epoch seconds; '' for whenever
--
-- Replies 1 where it was ended, 0 where it was dead already, -1 where it is spared.

local held = redis.pcall('HMGET', KEYS[1], '@user', '@seen', '@born')
if held.err or not (held[1] or held[2] or held[3]) then
  return 0
end
if (held[1] or '') ~= ARGV[1] then
  return -1
end
-- What commit.lua takes for a number: of what is damaged, 'inf' must not spare a session.
local function number(text)
  if text and #text <= 32 and string.find(text, '^%d+%.?%d*$') and string.byte(text, -1) ~= 46 then
    return tonumber(text)
  end
end
local function spares(limit, at)
  local known = number(at)
  return limit ~= '' and known and known >= tonumber(limit)
end
if spares(ARGV[2], held[2]) or spares(ARGV[3], held[3]) then
  return -1
end
return redis.call('UNLINK', KEYS[1])
