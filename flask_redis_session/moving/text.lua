-- Return the string under a key, if it holds one.
--
-- KEYS[1]  the key
--
-- Replies {key, text}; the text is false if the key is missing, or of another type. The key shows
-- that the reply is the one to this command.

local key = KEYS[1]
if redis.call('TYPE', key).ok ~= 'string' then
  return {key, false}
end
return {key, redis.call('GET', key)}
