-- Remove sessions from a user's index, unless they were put in again meanwhile.
--
-- KEYS[1]  the sorted set of the user
-- ARGV     sid, score, sid, score, …: each session with the highest score at which to remove it:
--          the one that was read before it ended, or the time at which it left that user
--
-- Replies OK.
--
-- A higher score means that the session was put in again, is alive, and must stay. It happens if a
-- client sends a creation twice, because the first reply was lost, and the session was ended
-- between the two; or if the session was bound to the same user again before this arrived.

for i = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) <= tonumber(ARGV[i + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return redis.status_reply('OK')
