-- Look at a user's index, or mend it, in one of several ways.
--
-- KEYS[1]  the sorted set
-- ARGV[1]  what to do
-- ARGV[2…] its arguments:
--   score        sid                replies the score of a member, or nil
--   ttl                             replies the index's remaining life in milliseconds, as PTTL does
--   add          sid, seen, life    adds a session by when it was last seen, and lets the index live
--                                   for at least `life` milliseconds from now; replies 1
--   outlive      life               lets the index live for at least so many milliseconds from now;
--                                   replies 1
--   remove-old   age, sid, sid, …   removes members with a score older than `age` seconds: no
--                                   request can still be adding them; replies a list of 1 (removed)
--                                   and 0 (not)
--   remove-same  sid, score, …      removes members that still have this score. A client may send a
--                                   creation twice, and the second one adds the session again, with
--                                   a higher score; replies 1
--   delete       type               deletes the key if it is of this type; replies 1, or 0
--
-- All but `delete` reply 'other' if the key is not a sorted set.

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

if what == 'score' then
  return redis.call('ZSCORE', key, ARGV[2])
elseif what == 'add' then
  redis.call('ZADD', key, 'GT', ARGV[3], ARGV[2])
  return outlive(ARGV[4])
elseif what == 'remove-old' then
  local limit = tonumber(redis.call('TIME')[1]) - tonumber(ARGV[2])
  local removed = {}
  for i = 3, #ARGV do
    local score = tonumber(redis.call('ZSCORE', key, ARGV[i]) or '')
    if score and score <= limit then
      removed[#removed + 1] = redis.call('ZREM', key, ARGV[i])
    else
      removed[#removed + 1] = 0
    end
  end
  return removed
elseif what == 'remove-same' then
  for i = 2, #ARGV, 2 do
    local score = tonumber(redis.call('ZSCORE', key, ARGV[i]) or '')
    if score and score == tonumber(ARGV[i + 1]) then
      redis.call('ZREM', key, ARGV[i])
    end
  end
  return 1
elseif what == 'outlive' then
  return outlive(ARGV[2])
end
return redis.call('PTTL', key)
