-- Which fields of a session hash are the user's. It stands before each script that uses it.

local function is_users(field)
  return string.byte(field) ~= 64 or string.byte(field, 2) == 64 -- @
end

-- Tell whether a session has no key of the user's. More than 100 fields cannot all be ours.
local function is_empty(key)
  if redis.call('HLEN', key) > 100 then
    return false
  end
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if is_users(field) then
      return false
    end
  end
  return true
end

