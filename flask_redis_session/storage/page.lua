-- Return one page of a user's index, from the members seen longest ago on.
--
-- KEYS[1]  the sorted set of the user
-- ARGV[1]  how many members at most
-- ARGV[2]  only members with a score below this, as ZCOUNT takes a maximum
-- ARGV[3]  the score and
-- ARGV[4]  the name of the member after which the page begins; '-inf' and '' for the first page
--
-- Replies key, member, score, member, score, … The key shows whose index it is.
--
-- The place is given by a member, not by a cursor or a rank: so it means the same on a server that
-- took over, and after members were added or removed. No member moves down past the place, because
-- a score only grows.

local key = KEYS[1]

-- A score in the future says nothing, because the server's clock had jumped: then each session is
-- looked at, and its hash says when it was seen.
local below = ARGV[2]
local newest = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2]
if newest and tonumber(newest) > tonumber(redis.call('TIME')[1]) + 1 then
  below = '+inf'
end

-- Byte by byte, as Redis does: in Lua, "<" of texts depends on the server's locale.
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

local last = math.min(first + tonumber(ARGV[1]), redis.call('ZCOUNT', key, '-inf', below)) - 1
if last < first then
  return {key}
end
local page = redis.call('ZRANGE', key, first, last, 'WITHSCORES')
table.insert(page, 1, key)
return page
