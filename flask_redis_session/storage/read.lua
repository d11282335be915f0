-- Return fields of a session.
--
-- KEYS[1]  the session hash
-- ARGV     the fields
--
-- Replies key, value, value, … The key shows which session it is. Of a key that is no hash, and of
-- one that is not there, every value is nil.

local values = redis.pcall('HMGET', KEYS[1], unpack(ARGV))
if is_refused(values) then
  return values
elseif values.err then
  values = {}
  for i = 1, #ARGV do
    values[i] = false
  end
end
table.insert(values, 1, KEYS[1])
return values
