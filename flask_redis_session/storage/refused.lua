-- Tell whether Redis refused a command for another reason than the type of the key, which only means
-- that it is none of ours. Such a refusal is passed on: nothing is known of the key. It stands before
-- each script that uses it.

local function is_refused(reply)
  return type(reply) == 'table' and reply.err and not string.find(reply.err, 'WRONGTYPE')
end

