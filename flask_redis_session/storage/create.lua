-- Create a session: all or nothing. Nothing must be proved, because nobody has its cookie yet.
--
-- KEYS[1]   the session hash
-- ARGV[1]   digest of its secret
-- ARGV[2]   idle lifetime in seconds
-- ARGV[3]   absolute lifetime in seconds; '' for none
-- ARGV[4]   'own ' if it has '@own', and no setting changes its idle lifetime; then its kind: 'permanent'
--           or 'passing'
-- ARGV[5]   'signed': its user signs in now, and '@signed' becomes the server's time. '' otherwise
-- ARGV[6…]  field, value, field, value, … to set
--
-- Replies what commit.lua replies: {'saved', mark, now, born, seen, idle, user, signed, own, permanent},
-- with the state before; or {what, mark} if there is such a key, which is left as it is:
--   unknown   it is a hash, but not the session that this command creates
--   gone      it is no hash
--
-- A client may send this twice, because the first reply was lost. A creation that has already happened
-- is recognized by its secret, and is not done again.

local secret = '@secret:' .. proof

-- pcall: of a key of another type this is an error. Any other error is passed on.
local size = redis.pcall('HLEN', key)
if type(size) == 'table' then
  return string.find(size.err, 'WRONGTYPE') and {'gone', told} or size
elseif size > 0 then
  local held = redis.call('HMGET', key, '@born', '@seen', '@idle', '@user', secret, '@signed', '@own',
    '@permanent')
  if held[5] ~= told or not held[1] or not string.find(held[1], '^%d+%.%d+$') then
    return {'unknown', told}
  end
  return {'saved', told, exact, held[1], held[2], held[3], held[4], held[6], held[7], held[8]}
end

-- Without memory, Redis refuses a script at its first command that takes some: the first of these.
redis.call('HSET', key, '@born', stamp, '@seen', stamp, '@idle', ARGV[2], secret, told,
  unpack(ARGV, 6, math.min(#ARGV, 5 + MOST_WORDS)))
for first = 6 + MOST_WORDS, #ARGV, MOST_WORDS do
  redis.call('HSET', key, unpack(ARGV, first, math.min(#ARGV, first + MOST_WORDS - 1)))
end
local own = string.sub(ARGV[4], 1, 4) == 'own ' and '1'
local permanent = string.sub(ARGV[4], -9) == 'permanent' and '1'
local signed = ARGV[5] == 'signed' and stamp
if permanent then
  redis.call('HSET', key, '@permanent', permanent)
end
if own then
  redis.call('HSET', key, '@own', own)
end
if signed then
  redis.call('HSET', key, '@signed', signed)
end
local lasts = ARGV[2]
if ARGV[3] ~= '' then
  lasts = math.min(lasts, ARGV[3])
end
redis.call('PEXPIREAT', key, math.floor((time[1] + lasts) * 1000 + time[2] / 1000))
return {'saved', told, exact, stamp, false, ARGV[2], false, signed, own, permanent}
