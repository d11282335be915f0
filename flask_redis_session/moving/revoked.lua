-- Note that a user's sessions are being revoked: older sessions of theirs are not carried over.
--
-- KEYS[1]  the mark of the user: epoch seconds
-- ARGV[1]  up to which moment, in epoch seconds; '' for now
-- ARGV[2]  when the mark ends, in epoch milliseconds
--
-- Replies {key}. The mark only moves forward, and not into the future.

local key = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local moment = math.min(tonumber(ARGV[1]) or now, now)
local held = redis.call('TYPE', key).ok == 'string' and tonumber(redis.call('GET', key))
moment = math.max(moment, held or 0)
redis.call('SET', key, string.format('%.6f', moment), 'PXAT', ARGV[2])
return {key}
