-- Put entries, each unless the cache holds something newer: the cache never goes backwards.
--
-- KEYS[1]   the key of the epoch, a token that is lost with the cache's contents
-- KEYS[2…]  the entries' keys
-- ARGV[1]   as of when the entries are true, in ms of this server's clock: when the database was
--           asked, or told
-- ARGV[2]   how old they may be, in ms
-- ARGV[3]   the epoch in which they were read, empty where it does not matter
-- ARGV[4]   a new epoch, in case there is none
-- ARGV[5]   the channel on which to tell other processes, empty for none
-- ARGV[6]   who tells them, empty for who wants to be told as well
-- ARGV[7]   length of the keys' prefix
-- ARGV[8…]  for each key: version (16 hex digits) and kind, time to live in ms, payload
-- returns   {this server's clock in ms, epoch, outcome, outcome, …};
--           an outcome is 1 stored, 0 superseded, -1 too late
local call, try = redis.call, redis.pcall
local sub, match, format = string.sub, string.match, string.format
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local as_of = tonumber(ARGV[1])

-- Read by GETRANGE, so that the server's count of GET is that of lookups.
local epoch = call('GETRANGE', KEYS[1], 0, -1)
if epoch == '' then
  epoch = ARGV[4]
  call('SET', KEYS[1], epoch)
end

-- An entry can wait in a stopped server's socket until it would outlive what outdated it. And a
-- cache that was emptied no longer knows what outdated it.
local late = now > as_of + tonumber(ARGV[2]) or (ARGV[3] ~= '' and ARGV[3] ~= epoch)

-- Returns whether an entry of this version and kind may be put, and whether at least a fence has to
-- be raised to its version.
local function passes(held, version, kind)
  local held_version, held_kind, stamp = match(held, '^([0-7][0-9a-f]+)([JZNDF])([0-9a-f]+)$')
  -- Junk is nobody's version: it is overwritten.
  if not stamp or #held_version ~= 16 or #stamp ~= 11 then
    return true
  end
  if held_version ~= version then
    if held_version > version then
      return false
    end
  elseif held_kind == 'D' or kind == 'F' then
    return false -- else the same version may arm its time to live again
  end
  if held_kind == 'F' and as_of <= tonumber(stamp, 16) then
    -- It may be outdated. But nothing older than it may pass from now on: it counts as taken.
    return false, held_version < version
  end
  return true
end

local tells, name_at = ARGV[5] ~= '', ARGV[7] + 1
local reply, changed = {now, epoch}, {ARGV[6]}
for i = 2, #KEYS do
  local at = 3 * i + 2
  local key, head, outcome = KEYS[i], ARGV[at], -1
  local version, kind = sub(head, 1, 16), sub(head, 17)
  local stores, raises = false, false
  if not late then
    local held = try('GETRANGE', key, 0, 27)
    -- A key of another type is overwritten.
    if type(held) ~= 'string' or held == '' then
      stores = true
    else
      stores, raises = passes(held, version, kind)
    end
    outcome = stores and 1 or 0
  end
  if stores then
    local stamp = now
    if kind ~= 'F' then
      stamp = now + ARGV[at + 1]
    end
    call('SET', key, head .. format('%011x', stamp) .. ARGV[at + 2], 'PX', ARGV[at + 1])
  elseif raises then
    call('SETRANGE', key, 0, version) -- its time to live stays
  end
  if tells and (stores or raises) then
    changed[#changed + 1] = version .. sub(key, name_at)
  end
  reply[i + 1] = outcome
end
if #changed > 1 then
  call('PUBLISH', ARGV[5], table.concat(changed, '\0'))
end
return reply
