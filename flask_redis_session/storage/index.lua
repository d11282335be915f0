-- Put a session into its user's index or move it up there, and let the index outlive the session.
--
-- KEYS[1]  the sorted set of the user
-- ARGV[1]  the session's sid
-- ARGV[2]  'add'; or 'touch', which never adds a session that is not there
-- ARGV[3]  how long the index must live from now, in milliseconds
--
-- Replies the number of members.
--
-- The server's time is the score. It only grows: GT.

local time = redis.call('TIME')
local now = string.format('%.6f', tonumber(time[1]) + tonumber(time[2]) / 1000000)

-- PEXPIRE with GT would do, but Redis has it from version 7 on.
local function outlive()
  redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])))
end

if ARGV[2] == 'touch' then
  -- First PEXPIRE, which takes no memory: without memory Redis refuses a script at its first
  -- command that takes some, but not after the script has written. A touch must not fail, because
  -- the commit in the same pipeline would be reported as failed too.
  outlive()
  redis.call('ZADD', KEYS[1], 'XX', 'GT', now, ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'GT', now, ARGV[1])
  outlive()
end
return redis.call('ZCARD', KEYS[1])
