-- What all scripts know of a session's secrets. It stands before each script that uses it.
--
-- @secret:<digest> holds the mark of a secret that opens the session, or the time at which that
-- secret was rotated away: then it is a tombstone. A mark begins with a letter, so that it never
-- reads as a time, and is a part of the digest, so that a reply shows which secret it is about.

local TOMBSTONE = 30 -- seconds
local MOST_TOMBSTONES = 32
local LONGEST = 100 * 365.25 * 86400 -- the longest lifetime, in seconds

local function mark(proof)
  return 's' .. string.sub(proof, 1, 8)
end

-- A damaged number, such as 'inf', is none.
local function number(text)
  if text and #text <= 32 and string.find(text, '^%d+%.?%d*$') and string.byte(text, -1) ~= 46 then
    return tonumber(text)
  end
end

-- A lifetime that no session can have is damaged too, and is none.
local function lifetime_of(text)
  local seconds = number(text)
  if seconds and seconds >= 0.001 and seconds <= LONGEST then
    return seconds
  end
end

-- Return what becomes of a session's secrets when all of them are rotated away: which fields are to
-- be set, as field, value, …, and which are to be deleted.
local function retire(key, now)
  local stamp = string.format('%.3f', now)
  local stones, old = {}, {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if string.sub(field, 1, 8) == '@secret:' then
      local rotated = number(redis.call('HGET', key, field))
      if rotated and math.abs(now - rotated) > TOMBSTONE then
        old[#old + 1] = field
      else
        stones[#stones + 1] = {field, rotated or now, rotated and '' or stamp}
      end
    end
  end
  table.sort(stones, function(one, other) return one[2] > other[2] end)
  local set = {}
  for i, stone in ipairs(stones) do
    if i > MOST_TOMBSTONES then
      old[#old + 1] = stone[1]
    else
      set[#set + 1] = stone[1]
      set[#set + 1] = stone[3] ~= '' and stone[3] or redis.call('HGET', key, stone[1])
    end
  end
  return set, old
end

-- End a session, and leave its tombstones in its place: a parallel request with its cookie is told
-- that the cookie was rotated away, and leaves the browser's new cookie alone.
local function bury(key, now)
  local stones = retire(key, now)
  redis.call('UNLINK', key)
  if #stones > 0 then
    redis.call('HSET', key, unpack(stones))
    redis.call('PEXPIRE', key, TOMBSTONE * 1000)
  end
end

