-- Tell which of these keys are no sessions.
--
-- KEYS  session hashes; in a cluster one, because they need not be on one node
--
-- Replies those that have no @born, or are no hashes. They are named, so that the reply to another
-- command is noticed.

local dead = {}
for _, key in ipairs(KEYS) do
  local born = redis.pcall('HGET', key, '@born')
  if is_refused(born) then
    return born
  elseif not born or type(born) == 'table' then
    dead[#dead + 1] = key
  end
end
return dead
