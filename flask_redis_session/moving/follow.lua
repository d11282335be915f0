-- Say what came of a claim, if it still is the claim of this request.
--
-- KEYS[1]  the mark of the old session, as claim.lua has it
-- ARGV[1]  the sid that was claimed for it
-- ARGV[2]  'p' if it is permanent, else '-'
-- ARGV[3]  the state from now on: 'became', 'ready' or 'spent'
-- ARGV[4]  when the mark ends, in epoch milliseconds
--
-- Replies {key, 1}, or {key, 0} if another request has taken the claim over. A client may send this
-- twice: what it said is then there already.

local key = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local held = redis.call('GET', key)
if held then
  local state, sid = string.match(held, '^(%l+) (%S+) ')
  if sid ~= ARGV[1] or (state ~= 'claimed' and state ~= ARGV[3]) then
    return {key, 0}
  end
end
local text = string.format('%s %s %s %.3f', ARGV[3], ARGV[1], ARGV[2], now)
redis.call('SET', key, text, 'PXAT', ARGV[4])
return {key, 1}
