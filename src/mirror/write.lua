-- Writes counters, and how far the mirror is.
--
-- Keys: the marker, the names, then for each counter its value and its meta.
-- Arguments: id, the sequence number before and after this call, epoch, the store's revision now; revision and time
-- as of which everything is there (both empty while a round is not over; an empty time keeps the one that is there);
-- then for each counter name, value (empty: it is gone; `?`: nobody knows it), revision, period, last_updated, type,
-- expires_at.
-- Answer: `ok` with how many counters were written, the highest later epoch that was found, and the highest revision
-- of this epoch that the store has not come to; or `lost` with the id in the marker, which is empty where the names
-- are not those that were written.

-- Reads a whole number; nil for any other text, and for numbers that no mirror writes.
local function number(text)
  local number = tonumber(text or '')
  return number and number >= 0 and number <= 9007199254740991 and number or nil
end
local names = number(marker[4])
if redis.pcall('ZCARD', KEYS[2]) ~= names then return {'lost', '', '0', '0'} end
local epoch, latest = tonumber(ARGV[4]), tonumber(ARGV[5])
local written, later, ahead, now = 0, 0, 0, names
for at = 1, (#KEYS - 2) / 2 do
  local value_key, meta_key = KEYS[1 + 2 * at], KEYS[2 + 2 * at]
  local first = 8 + 7 * (at - 1)
  local name, value, revision, period = ARGV[first], ARGV[first + 1], ARGV[first + 2], ARGV[first + 3]
  local there = redis.pcall('HMGET', meta_key, 'epoch', 'revision', 'period', 'created_at')
  if there.err then redis.call('DEL', meta_key) there = {} end
  local its_epoch, its_revision = number(there[1]) or -1, number(there[2]) or -1
  local ours_is_late
  if its_epoch ~= epoch then
    ours_is_late = its_epoch > epoch
    if ours_is_late and its_epoch > later then later = its_epoch end
  elseif its_revision > latest then
    -- A copy of this store that is further on wrote it.
    ours_is_late = true
    ahead = math.max(ahead, its_revision)
  elseif value == '?' then
    ours_is_late = false
  elseif its_revision ~= tonumber(revision) then
    ours_is_late = its_revision > tonumber(revision)
  else
    ours_is_late = value ~= '' and (there[3] or '') > period
  end
  if ours_is_late then
    -- What is there stays.
  elseif value == '?' then
    -- The last value stays for people to see; readers do not take it.
    if there[1] then redis.call('HSET', meta_key, 'unknown', '1') written = written + 1 end
  elseif value == '' then
    written = written + 1
    redis.call('DEL', value_key, meta_key)
    if there[3] and there[3] ~= '' then redis.call('DEL', value_key .. ':users:' .. there[3]) end
    now = now - redis.call('ZREM', KEYS[2], name)
  else
    written = written + 1
    redis.call('SET', value_key, value)
    redis.call('HSET', meta_key, 'last_updated', ARGV[first + 4],
      'created_at', there[4] or ARGV[first + 4], 'type', ARGV[first + 5], 'period', period,
      'expires_at', ARGV[first + 6], 'unknown', '', 'epoch', ARGV[4], 'revision', revision)
    now = now + redis.call('ZADD', KEYS[2], 0, name)
  end
end
if now ~= names then redis.call('HSET', KEYS[1], 'names', string.format('%.0f', now)) end
if ARGV[2] ~= ARGV[3] then
  redis.call('HSET', KEYS[1], 'sequence', ARGV[3])
  if ARGV[6] ~= '' then redis.call('HSET', KEYS[1], 'revision', ARGV[6], 'complete', '1') end
  if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'as_of', ARGV[7]) end
end
return {'ok', tostring(written), string.format('%.0f', later), string.format('%.0f', ahead)}
