-- Put a session into its user's index, or move it up there, and let the index outlive it.
--
-- KEYS[1]  the sorted set of the user
-- ARGV[1]  the session's sid
-- ARGV[2]  'add', or 'touch', which never adds a session that is not there
-- ARGV[3]  how long the index must live from now, in milliseconds
--
-- Replies the number of members. (PEXPIREAT … GT, which would do, is Redis 7's.)

local time = redis.call('TIME')
local now = string.format('%.6f', tonumber(time[1]) + tonumber(time[2]) / 1000000)

local function outlive()
  redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])))
end

if ARGV[2] == 'touch' then
  -- In this order, and in any case: without memory Redis refuses a script at its first command that
  -- takes some, but no more once it has written. What comes in the same pipeline, such as the
  -- deletion of a key, must not be told as a failure.
  outlive()
  redis.call('ZADD', KEYS[1], 'XX', 'GT', now, ARGV[1])
else
  redis.call('ZADD', KEYS[1], 'GT', now, ARGV[1])
  outlive()
end
return redis.call('ZCARD', KEYS[1])
