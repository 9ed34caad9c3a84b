-- Fence entries off, whatever they hold: a reader is to ask the database, and what anybody has read
-- or begun to write before now may not come back.
--
-- KEYS[1]   the key of the epoch
-- KEYS[2…]  the entries' keys
-- ARGV[1]   life of a fence, in ms
-- ARGV[2]   a new epoch, which turns away whatever is being read right now; empty to keep the old
-- ARGV[3]   the channel on which to tell other processes
-- ARGV[4]   length of the keys' prefix
-- returns   the number of fences set
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[1], ARGV[2])
end
local changed = {''} -- who tells them: whoever runs this is to be told as well
if ARGV[2] ~= '' then
  -- No id stands for all: other processes may hold what this server does not.
  changed[2] = string.rep('f', 16)
end
for i = 2, #KEYS do
  -- Version 0: what keeps older entries out is the time, whatever was held.
  redis.call('SET', KEYS[i], string.rep('0', 16) .. 'F' .. string.format('%011x', now), 'PX', ARGV[1])
  -- Newer than any version: other processes drop what they hold.
  changed[#changed + 1] = string.rep('f', 16) .. string.sub(KEYS[i], ARGV[4] + 1)
end
if #changed > 1 then
  redis.call('PUBLISH', ARGV[3], table.concat(changed, '\0'))
end
return #KEYS - 1
