-- Increment or take one key of a session, if the request's cookie opens it: all or nothing.
--
-- It stands behind commit.lua, as a function commit(KEYS, ARGV), which proves the cookie and moves
-- @seen and the expiry.
--
-- KEYS[1]     the session hash
-- ARGV[1…5]   as commit.lua's, of a commit without changes
-- ARGV[6]     the field
-- ARGV[7]     a number of 64 bits, which is added to the field's JSON integer; a field that is not
--             there counts as 0. '' takes the field: it is deleted
--
-- Replies what commit.lua replies, and after 'saved' two more: the field's JSON text (the new one of
-- an increment, or what was taken; nil if there was nothing to take), and 1 if no key of the user's
-- is left, 0 otherwise. One more word can be the first of the reply:
--   unfit   the field holds no integer, or the sum has more than 64 bits; nothing was written
--
-- If a client sends this twice, because the first reply was lost, it counts twice. What the first
-- one took is then nobody's.

local key, proof, field, by = KEYS[1], ARGV[1], ARGV[6], ARGV[7]
local value, is_last = false, 0

local held = redis.pcall('HMGET', key, '@born', '@secret:' .. proof, field)
if not held.err and number(held[1]) and held[2] == mark(proof) then
  if by == '' then
    value = held[3]
    -- Also if there is nothing: without memory, Redis lets a script set a field after it has
    -- deleted one.
    redis.call('HDEL', key, field)
    is_last = is_empty(key) and 1 or 0
  else
    local sum = redis.pcall('HINCRBY', key, field, by)
    if type(sum) == 'table' and sum.err then
      if string.find(sum.err, 'not an integer') or string.find(sum.err, 'overflow') then
        return {'unfit', mark(proof)}
      end
      return sum
    end
    -- Not the sum itself: a number of Lua's has 53 bits.
    value = redis.call('HGET', key, field)
  end
end

local reply = commit(KEYS, {unpack(ARGV, 1, 5)})
if reply[1] == 'saved' then
  reply[11], reply[12] = value, is_last
end
return reply
