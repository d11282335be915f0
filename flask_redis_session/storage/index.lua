-- Put a session into its user's index or move it up there, and let the index outlive the session.
--
-- KEYS[1]  the sorted set of the user
-- ARGV[1]  the session's sid
-- ARGV[2]  'add', for a sign-in; or 'touch', which also puts back what is missing there
-- ARGV[3]  how long the index must live from now, in milliseconds
-- ARGV[4]  how many members an index may have before a sign-in looks at some of them
--
-- Replies member, score, member, score, …: nothing, or some members to look at, half of them the
-- oldest and half of them random.
--
-- The server's time is the score. It only grows: GT.

local time = redis.call('TIME')
local now = string.format('%.6f', tonumber(time[1]) + tonumber(time[2]) / 1000000)

-- PEXPIRE with GT would do, but Redis has it from version 7 on.
local function outlive()
  return redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3])))
end

if ARGV[2] == 'touch' then
  -- First PEXPIRE, which takes no memory: without memory Redis refuses a script at its first
  -- command that takes some, but not after the script has written.
  local is_there = outlive() == 1
  redis.call('ZADD', KEYS[1], 'GT', now, ARGV[1])
  if not is_there then
    outlive()
  end
  return {}
end
redis.call('ZADD', KEYS[1], 'GT', now, ARGV[1])
outlive()
if redis.call('ZCARD', KEYS[1]) <= tonumber(ARGV[4]) then
  return {}
end
local members = redis.call('ZRANGE', KEYS[1], 0, 49, 'WITHSCORES')
for _, word in ipairs(redis.call('ZRANDMEMBER', KEYS[1], 50, 'WITHSCORES')) do
  members[#members + 1] = word
end
return members
