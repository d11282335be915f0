-- Commit one request's changes to one session, if the request's cookie opens it: all or nothing.
--
-- KEYS[1]       the session hash
-- ARGV[1]       digest of the cookie's secret
-- ARGV[2]       idle lifetime in seconds
-- ARGV[3]       a kind: 'permanent' or 'passing'; or a word, and perhaps the kind that it is to get:
--               'set': @idle becomes ARGV[2], unless there is '@own'.
--               'assign': @idle becomes ARGV[2], with '@own': no setting changes it.
--               'reset': @idle becomes ARGV[2], without '@own'.
--               A kind alone is what the cookie says, which the browser can write as it likes: @idle
--               is lowered to ARGV[2], unless there is '@own' or the session is of the other kind.
--               Then another request has turned it, and this request's cookie is older than that.
--               A rotation lowers it all the same: the cookie that it hands out says the present
--               kind. So a permanent session may become a passing one by it, but not the reverse.
-- ARGV[4]       absolute lifetime in seconds; '' for none
-- ARGV[5]       'n g ending fresh': the number of fields to delete; that of guards; 'wipe': every key
--               of the user's is deleted first, 'spent': this request has taken the last key, and the
--               session ends if there is still none, or nothing; and the digest of a fresh secret to
--               rotate to, or nothing, which keeps the secret. '' is '0 0  '
-- ARGV[6…5+n]   the fields to delete
-- ARGV[6+n…]    field, value, field, value, … to set. '@signed' becomes the server's time, whatever its
--               value: the user was confirmed. It also does if '@user' becomes another one.
-- the last 2g   the guards: field, digest, field, digest, … Each field must hold a text with this
--               SHA-1, in hex ('': it must not be there), or what this commit leaves in it.
--
-- Replies {what, mark, now, born, seen, idle, user, signed, own, permanent}. The mark is that of
-- ARGV[1]: it shows that the reply is the one to this commit. What became of it:
--   saved     the changes are stored
--   ended     no key of the user's is left, and the session was deleted; its tombstones stay after
--             'wipe', after a rotation, and if the session was somebody's
--   gone      there is no such session; nothing was written
--   rotated   the cookie's secret was rotated away a moment ago; nothing was written
--   unknown   the session does not have the cookie's secret; nothing was written
--   conflict  a guarded field holds something else; nothing was written. What follows the mark is
--             field, text, … of all guards; no text: the field is not there
-- The rest is there after 'saved' and 'ended': the server's time, the state before, and '@idle',
-- '@signed', '@own' and '@permanent' as they are now.
--
-- A client may send this twice, because the first reply was lost. A rotation that has already
-- happened is recognized by its fresh secret; it is neither refused nor done again.
--
-- begin.lua and usual.lua come before it; they have carried out a usual commit already.

if is_refused(held) then
  return held
elseif held.err then
  return {'gone', told}
end
local born, seen, idle, user = number(held[1]), held[2], lifetime_of(held[3]), held[4]
local signed, own, permanent = held[6], held[7], held[8]
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

if fresh ~= '' and held[9] == mark(fresh) and born then
  return {'saved', told, exact, held[1], seen, held[3], user, signed, own, permanent}
elseif held[5] ~= mark(proof) then
  local rotated = number(held[5])
  if rotated and math.abs(now - rotated) <= TOMBSTONE then
    return {'rotated', told}
  end
  return {born and 'unknown' or 'gone', told}
elseif not born then
  return {'gone', told}
end

local lifetime = ARGV[2]
local rule, kind = string.match(ARGV[3], '^(%l+) ?(%l*)$')
if kind ~= '' then
  permanent = kind == 'permanent' and '1'
elseif rule == 'permanent' or rule == 'passing' then
  rule, kind = 'lower', rule
end
if rule == 'assign' or rule == 'reset' then
  own = rule == 'assign' and '1'
elseif own and idle then
  lifetime = held[3]
elseif rule == 'lower' and idle then
  local is_other = (kind == 'permanent') ~= (permanent ~= false)
  if idle < tonumber(lifetime) or (fresh == '' and is_other) then
    lifetime = held[3]
  end
end
if fresh ~= '' and kind == 'passing' then
  permanent = false
end
-- The absolute lifetime counts from the sign-in, or from the last sign-out, or from the creation.
local function expiry()
  local idle_end = now + tonumber(lifetime)
  if ARGV[4] == '' then
    return idle_end
  end
  return math.min(idle_end, (number(signed) or born) + tonumber(ARGV[4]))
end
if expiry() <= now then
  redis.call('UNLINK', key)
  return {'gone', told}
end

local wipe = ending == 'wipe'
local rotates = fresh ~= ''
local last = #ARGV - 2 * guards
if guards > 0 then
  local guarded, conflicts, wanted = {'conflict', told}, false, nil
  for i = last + 1, #ARGV, 2 do
    local field = ARGV[i]
    local text = redis.call('HGET', key, field)
    guarded[#guarded + 1] = field
    guarded[#guarded + 1] = text
    if (text and redis.sha1hex(text) or '') ~= ARGV[i + 1] then
      if not wanted then
        wanted = {}
        for at = 6 + deletions, last, 2 do
          wanted[ARGV[at]] = ARGV[at + 1]
        end
      end
      conflicts = conflicts or text ~= (wanted[field] or false)
    end
  end
  if conflicts then
    return guarded
  end
end

local changed = {}
local function set(field, value)
  changed[#changed + 1] = field
  changed[#changed + 1] = value
end
set('@seen', stamp)
if lifetime ~= held[3] then
  set('@idle', lifetime)
end
if own and not held[7] then
  set('@own', own)
end
if permanent and not held[8] then
  set('@permanent', permanent)
end
if rotates then
  set('@secret:' .. fresh, mark(fresh))
end
local sets_users = false
local signs = false
for i = 6 + deletions, last, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  sets_users = sets_users or is_users(field)
  signs = signs or field == '@signed' or (field == '@user' and value ~= user)
  if field ~= '@signed' then
    set(field, value)
  end
end
local deleted = {}
for i = 6, 5 + deletions do
  signs = signs or (ARGV[i] == '@user' and user)
  deleted[#deleted + 1] = ARGV[i]
end
if held[7] and not own then
  deleted[#deleted + 1] = '@own'
end
if held[8] and not permanent then
  deleted[#deleted + 1] = '@permanent'
end
if signs then
  signed = stamp
  set('@signed', stamp)
end

local before = {exact, held[1], seen, lifetime, user, signed, own, permanent}
if wipe and not sets_users then
  bury(key, now)
  return {'ended', told, unpack(before)}
end

if rotates then
  local retired, old = retire(key, now)
  for _, word in ipairs(retired) do
    changed[#changed + 1] = word
  end
  for _, field in ipairs(old) do
    deleted[#deleted + 1] = field
  end
end
if wipe then
  local kept = {}
  for i = 1, #changed, 2 do
    kept[changed[i]] = true
  end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if is_users(field) and not kept[field] then
      deleted[#deleted + 1] = field
    end
  end
end

local function each_chunk(command, words)
  for first = 1, #words, MOST_WORDS do
    redis.call(command, key, unpack(words, first, math.min(first + MOST_WORDS - 1, #words)))
  end
end

-- Without memory, Redis refuses a script at its first command that takes some, but not after the
-- script has written. A commit that sets a key of the user's sets first, so that it is refused as a
-- whole. One that only deletes, such as a sign-out, deletes first, so that it works.
if sets_users then
  each_chunk('HSET', changed)
  each_chunk('HDEL', deleted)
else
  each_chunk('HDEL', deleted)
  -- A session without a key of the user's has ended.
  if (deletions > 0 or ending == 'spent') and is_empty(key) then
    if rotates or user then
      bury(key, now)
    else
      redis.call('UNLINK', key)
    end
    return {'ended', told, unpack(before)}
  end
  each_chunk('HSET', changed)
end
redis.call('PEXPIREAT', key, math.floor(expiry() * 1000))
return {'saved', told, unpack(before)}
