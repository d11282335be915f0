-- Remove sessions from their user's index, unless they were put there again meanwhile.
--
-- KEYS[1]  the sorted set of the user
-- ARGV     sid, score, sid, score, …: the sessions, with the scores that were read before they
--          ended, or with the time at which they left that user
--
-- A client may create a session twice, because the first reply was lost, and between the two the
-- session may have been ended; or it is bound to the same user once more before this arrives. Then
-- it is alive, and its new score tells that it must stay.

for i = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) <= tonumber(ARGV[i + 1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return redis.status_reply('OK')
