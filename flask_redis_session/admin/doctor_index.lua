-- Look at a user's index, and mend it.
--
-- KEYS[1]  the sorted set
-- ARGV[1]  what to do; all but the first reply 'other' where the key is of another type
--   delete  type                deletes a key of this type; replies 1, or 0
--   has     sid                 replies the score of a member, or nil
--   join    sid, seen, life     puts a session in, by when it was last seen, and lets the index
--                               live for so many milliseconds more; replies 1
--   drop    age, sid, sid, …    removes those put in or seen more than so many seconds ago:
--                               nobody can be putting them in now; replies a list of 1 and 0
--   forget  sid, score, …       removes those whose score still is what it was: a creation that a
--                               client sent twice may have put one in again; replies 1
--   life    life                lets the index live for so many milliseconds more; replies 1
--   left                        replies what is left of its life in milliseconds, as PTTL does

local key, what = KEYS[1], ARGV[1]
local kind = redis.call('TYPE', key).ok
if what == 'delete' then
  return kind == ARGV[2] and redis.call('UNLINK', key) or 0
end
if kind ~= 'zset' and kind ~= 'none' then
  return 'other'
end

local function outlive(milliseconds)
  if redis.call('EXISTS', key) == 1 and redis.call('PTTL', key) < tonumber(milliseconds) then
    redis.call('PEXPIRE', key, milliseconds)
  end
  return 1
end

if what == 'has' then
  return redis.call('ZSCORE', key, ARGV[2])
elseif what == 'join' then
  redis.call('ZADD', key, 'GT', ARGV[3], ARGV[2])
  return outlive(ARGV[4])
elseif what == 'drop' then
  local limit = tonumber(redis.call('TIME')[1]) - tonumber(ARGV[2])
  local dropped = {}
  for i = 3, #ARGV do
    local score = tonumber(redis.call('ZSCORE', key, ARGV[i]) or '')
    if score and score <= limit then
      dropped[#dropped + 1] = redis.call('ZREM', key, ARGV[i])
    else
      dropped[#dropped + 1] = 0
    end
  end
  return dropped
elseif what == 'forget' then
  for i = 2, #ARGV, 2 do
    local score = tonumber(redis.call('ZSCORE', key, ARGV[i]) or '')
    if score and score == tonumber(ARGV[i + 1]) then
      redis.call('ZREM', key, ARGV[i])
    end
  end
  return 1
elseif what == 'life' then
  return outlive(ARGV[2])
end
return redis.call('PTTL', key)
