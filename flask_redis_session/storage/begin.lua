-- How a commit and a creation begin: with what both say in their reply.
--
-- It stands before all functions and formats no number, because either takes time.

local MOST_WORDS = 1000 -- unpack() of some thousand values overflows Lua's stack

local key, proof = KEYS[1], ARGV[1]
-- As mark() of secrets.lua has it.
local told = 's' .. string.sub(proof, 1, 8)

local time = redis.call('TIME')
local fraction = time[2]
if #fraction < 6 then
  fraction = string.rep('0', 6 - #fraction) .. fraction
end
-- Exact enough to tell whether this or a change of the index came first.
local exact = time[1] .. '.' .. fraction
local stamp = string.sub(exact, 1, -4)
