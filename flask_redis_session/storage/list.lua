-- Return a part of a user's index, last seen first.
--
-- KEYS[1]  the sorted set of the user
-- ARGV[1]  how many of the newest to leave out
-- ARGV[2]  how many members at most
--
-- Replies key, member, score, member, score, … The key shows whose index it is.

local first = tonumber(ARGV[1])
local part = redis.call('ZREVRANGE', KEYS[1], ARGV[1],
  string.format('%d', first + tonumber(ARGV[2]) - 1), 'WITHSCORES')
table.insert(part, 1, KEYS[1])
return part
