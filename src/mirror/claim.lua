-- Takes the marker over for a new sequence, unless the keys are another store's.
--
-- Keys: the marker, the names. Arguments: id (empty: only look, change nothing), epoch, the store's lineage,
-- what the key of a counter begins with, then the epochs that the store has had. Answer: `ok`, with `ours`
-- where the keys are this store's already; or `later` with the later epoch that is there; or `other` with
-- the lineage of the other store, or with its epoch where it has none.

-- A whole number of ours; nothing for any other text.
local function number(text)
  local number = tonumber(text or '')
  return number and number >= 0 and number <= 9007199254740991 and number or nil
end
local function of_ours(epoch)
  for at = 5, #ARGV do
    if tonumber(ARGV[at]) == epoch then return true end
  end
  return false
end
local there = redis.pcall('HMGET', KEYS[1], 'epoch', 'lineage')
local spoilt = there.err
if spoilt then there = {} end
local epoch, lineage = number(there[1]), there[2]
-- What is no id was not written by a mirror.
if lineage and (#lineage ~= 36 or string.find(lineage, '[^%x-]')) then lineage = nil end
local kind = redis.call('TYPE', KEYS[2]).ok
local known = lineage == ARGV[3]
if lineage and not known then return {'other', lineage} end
if not lineage then
  -- An earlier version's keys, or keys whose marker was lost: the epochs beside the values tell.
  local names, other = {}, nil
  if kind == 'zset' then names = redis.call('ZRANGEBYLEX', KEYS[2], '-', '+', 'LIMIT', '0', '100') end
  if kind == 'set' then names = redis.call('SMEMBERS', KEYS[2]) end
  if epoch and #names > 0 and of_ours(epoch) then known = true end
  if epoch and #names > 0 and epoch > 0 and not known then other = epoch end
  for at = 1, #names do
    if known or other == epoch and epoch then break end
    local its = redis.pcall('HGET', ARGV[4] .. names[at] .. ':meta', 'epoch')
    its = type(its) == 'string' and number(its)
    if its and of_ours(its) then known = true
    elseif its and its > 0 then other = other or its end
  end
  if other and not known then return {'other', string.format('%.0f', other)} end
end
if epoch and epoch > tonumber(ARGV[2]) then return {'later', string.format('%.0f', epoch)} end
if ARGV[1] == '' then return {'ok', known and 'ours' or ''} end
if spoilt then redis.call('DEL', KEYS[1]) end
if kind == 'set' then
  -- An earlier version's. What is in it and no longer known is looked for once all is written.
  local names = redis.call('SMEMBERS', KEYS[2])
  redis.call('DEL', KEYS[2])
  for at = 1, #names do redis.call('ZADD', KEYS[2], 0, names[at]) end
elseif kind ~= 'zset' and kind ~= 'none' then
  redis.call('DEL', KEYS[2])
end
-- As of when there is everything is said anew: what stands there was said by another sequence.
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'epoch', ARGV[2], 'lineage', ARGV[3], 'sequence', '0', 'complete', '0',
  'as_of', '', 'names', tostring(redis.call('ZCARD', KEYS[2])))
return {'ok', known and 'ours' or ''}
