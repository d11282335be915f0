-- Claim an old session, or say what became of it. Only one import of it goes on at a time.
--
-- KEYS[1]  the mark of the old session: 'state sid kind time'
-- ARGV[1]  the sid that it would become; '' only looks: what it held is gone
-- ARGV[2]  'p' if it is permanent, else '-'
-- ARGV[3]  when the mark ends, in epoch milliseconds
-- ARGV[4]  'ahead' if this is not the browser that has the old cookie; '' otherwise
--
-- The state is 'claimed' (its import has begun), 'became' (it is the session with this sid), 'ready'
-- (it is, and no browser has come for it yet) or 'spent' (it opens nothing). The time is when the
-- state began.
--
-- Replies {key, what, sid, kind}. What the old cookie means:
--   yours   this request has claimed it. The sid is that of a claim which was given up; '' if none
--   wait    another request has claimed it a moment ago
--   stale   another request has claimed it, and seems to have died; this one only looks
--   join    for a moment it means the session with this sid
--   late    not so long ago it became that session
--   spent   it opens nothing any more
--   none    nothing is known of it
-- A client may send this twice: a claim that is this one's own is 'yours' again.

local FOLLOWED = 1 -- second, after which a claim that nothing followed is taken over
local JOINED = 10 -- seconds, for which the old cookie means the new session
local LATE = 30 -- seconds, as long as a tombstone stays

local key, sid, kind = KEYS[1], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function put(state, whose, whose_kind)
  local text = string.format('%s %s %s %.3f', state, whose, whose_kind, now)
  redis.call('SET', key, text, 'PXAT', ARGV[3])
end

local held = redis.pcall('GET', key)
if is_refused(held) then
  return held
elseif not held then
  if sid == '' then
    return {key, 'none', '', ''}
  end
  put('claimed', sid, kind)
  return {key, 'yours', '', kind}
end
local state, known, known_kind, at
if type(held) == 'string' then
  state, known, known_kind, at = string.match(held, '^(%l+) ([%w_-]+) ([p-]) (%d+%.%d+)$')
end
-- abs: after a clock was set back, a mark seems to come from the future.
local age = at and math.abs(now - tonumber(at))
if state == 'claimed' and known == sid then
  return {key, 'yours', '', kind}
elseif state == 'claimed' and age <= FOLLOWED then
  return {key, 'wait', known, known_kind}
elseif state == 'claimed' and sid == '' then
  return {key, 'stale', '', ''}
elseif state == 'claimed' then
  put('claimed', sid, kind)
  return {key, 'yours', known, kind}
elseif state == 'ready' and ARGV[4] == '' then
  put('became', known, known_kind)
  return {key, 'join', known, known_kind}
elseif state == 'became' and age <= JOINED then
  return {key, 'join', known, known_kind}
elseif state == 'became' and age <= LATE then
  return {key, 'late', known, known_kind}
end
return {key, 'spent', '', ''}
