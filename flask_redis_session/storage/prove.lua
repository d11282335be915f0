-- Tell what a session hash says of a cookie.
--
-- KEYS[1]  the session hash
-- ARGV[1]  digest of the cookie's secret
--
-- Replies {mark, seconds, microseconds, born, secret}: the mark of ARGV[1], which shows that the
-- reply is the one to this command; the server's time; @born; and what @secret:<digest> holds.

local time = redis.call('TIME')
local held = redis.pcall('HMGET', KEYS[1], '@born', '@secret:' .. ARGV[1])
if is_refused(held) then
  return held
elseif held.err then
  held = {false, false}
end
return {mark(ARGV[1]), time[1], time[2], held[1], held[2]}
