-- How commit.lua goes on after begin.lua: it reads the session, and carries out a usual commit. That is
-- one by a cookie that opens the session, which sets keys of the user's, or nothing, and leaves the
-- secret, the user and the idle lifetime as they are. What is unusual in any way is left to the rest.

local deletions, guards, ending, fresh = 0, 0, '', ''

-- pcall: a key of another type with this name is not a session.
local held
if ARGV[5] == '' then
  held = redis.pcall('HMGET', key, '@born', '@seen', '@idle', '@user', '@secret:' .. proof,
    '@signed', '@own', '@permanent')
else
  deletions, guards, ending, fresh = string.match(ARGV[5], '^(%d+) (%d+) (%l*) (.*)$')
  deletions, guards = tonumber(deletions), tonumber(guards)
  held = redis.pcall('HMGET', key, '@born', '@seen', '@idle', '@user', '@secret:' .. proof,
    '@signed', '@own', '@permanent', '@secret:' .. fresh)
end

if ARGV[5] == '' and (ARGV[3] == 'passing' or ARGV[3] == 'permanent')
  and held[5] == told and held[3] == ARGV[2]
  and held[1] and #held[1] <= 32 and string.find(held[1], '^%d+%.%d+$') then
  local ends, last = time[1] + held[3], #ARGV
  local is_usual = last <= MOST_WORDS
  for i = 6, last, 2 do
    is_usual = is_usual and string.byte(ARGV[i]) ~= 64 -- @
  end
  if ARGV[4] ~= '' then
    local since = held[6] or held[1]
    is_usual = is_usual and #since <= 32 and string.find(since, '^%d+%.%d+$')
      and since + ARGV[4] >= ends + 1
  end
  if is_usual then
    redis.call('HSET', key, '@seen', stamp, unpack(ARGV, 6, last))
    redis.call('PEXPIREAT', key, math.floor(ends * 1000 + time[2] / 1000))
    return {'saved', told, exact, held[1], held[2], held[3], held[4], held[6], held[7], held[8]}
  end
end

