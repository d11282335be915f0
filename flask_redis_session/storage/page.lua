-- Go through a user's index, from those seen longest ago, a page at a time.
--
-- KEYS[1]  the sorted set of the user
-- ARGV[1]  how many at most
-- ARGV[2]  only those with a score below, as ZCOUNT takes a maximum
-- ARGV[3]  the score and
-- ARGV[4]  the name of the member after which the page begins; '-inf' and '' at the beginning
--
-- Replies member, score, member, score, …
--
-- The place is said by what stands there, not by a cursor or a rank: it is the same on a server
-- that took over, and whatever was added and removed meanwhile. No member moves down past it,
-- because a score only grows.

local key = KEYS[1]

-- Byte by byte, as Redis does: to Lua, "<" may be a matter of the server's language.
local function follows(name, other)
  for i = 1, math.min(#name, #other) do
    local ours, theirs = string.byte(name, i), string.byte(other, i)
    if ours ~= theirs then
      return ours > theirs
    end
  end
  return #name > #other
end

local first = redis.call('ZCOUNT', key, '-inf', '(' .. ARGV[3])
local behind = first + redis.call('ZCOUNT', key, ARGV[3], ARGV[3])
while first < behind do
  local middle = math.floor((first + behind) / 2)
  if follows(redis.call('ZRANGE', key, middle, middle)[1], ARGV[4]) then
    behind = middle
  else
    first = middle + 1
  end
end

local last = math.min(first + tonumber(ARGV[1]), redis.call('ZCOUNT', key, '-inf', ARGV[2])) - 1
if last < first then
  return {}
end
return redis.call('ZRANGE', key, first, last, 'WITHSCORES')
