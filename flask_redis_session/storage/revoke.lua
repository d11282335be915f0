-- End one session, if it still is this user's and as old as asked.
--
-- KEYS[1]  the session hash
-- ARGV[1]  the user; '' for nobody
-- ARGV[2]  last seen before this, in epoch seconds; '' for at any time
-- ARGV[3]  created before this, in epoch seconds; '' for at any time
--
-- Replies 1 if it was ended, 0 if there is no such session, -1 if it stays.

local held = redis.pcall('HMGET', KEYS[1], '@user', '@seen', '@born')
if held.err or not (held[1] or held[2] or held[3]) then
  return 0
end
if (held[1] or '') ~= ARGV[1] then
  return -1
end
-- As in commit.lua. A damaged time, such as 'inf', must not keep a session alive.
local function number(text)
  if text and #text <= 32 and string.find(text, '^%d+%.?%d*$') and string.byte(text, -1) ~= 46 then
    return tonumber(text)
  end
end
local function is_too_new(at, limit)
  local known = number(at)
  return limit ~= '' and known and known >= tonumber(limit)
end
if is_too_new(held[2], ARGV[2]) or is_too_new(held[3], ARGV[3]) then
  return -1
end
return redis.call('UNLINK', KEYS[1])
