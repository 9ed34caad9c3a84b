-- Put an entry unless the cache holds something newer: the cache never goes backwards.
--
-- KEYS[1]  the entry's key
-- ARGV[1]  the entry: 16 hex digits of version, one letter of kind, payload
-- ARGV[2]  time to live, in ms
-- ARGV[3]  deadline, in ms of this server's clock, 0 for none
-- returns  {outcome, this server's clock in ms}; outcome 1 stored, 0 superseded, -1 too late
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- An entry can wait in a stopped server's socket until it would outlive what outdated it.
local deadline = tonumber(ARGV[3])
if deadline > 0 and now > deadline then
  return {-1, now}
end

-- Junk, or a key of another type, is nobody's version: it is overwritten.
local held = redis.pcall('GETRANGE', KEYS[1], 0, 16)
if type(held) == 'string' and #held == 17 and string.find(held, '^[0-7][0-9a-f]+[JD]$') then
  local held_version, version = string.sub(held, 1, 16), string.sub(ARGV[1], 1, 16)
  if held_version > version then
    return {0, now}
  end
  -- The same version may arm its time to live again, but only a newer one passes a tombstone.
  if held_version == version and string.sub(held, 17, 17) == 'D' then
    return {0, now}
  end
end

redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, now}
