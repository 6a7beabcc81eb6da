-- Takes the marker over for a new sequence.
--
-- Keys: the marker, the names. Arguments: id, epoch. Answer: empty, or the later epoch that is there already.

-- A whole number of ours; nothing for what is none, and for what no mirror would have written.
local function number(text)
  local number = tonumber(text or '')
  return number and number >= 0 and number <= 9007199254740991 and number or nil
end
local theirs = redis.pcall('HGET', KEYS[1], 'epoch')
if type(theirs) == 'table' then redis.call('DEL', KEYS[1]) theirs = false end
theirs = number(theirs)
if theirs and theirs > tonumber(ARGV[2]) then return string.format('%.0f', theirs) end
local kind = redis.call('TYPE', KEYS[2]).ok
if kind == 'set' then
  -- An earlier version's. What is in it and no longer known is looked for once all is written.
  local names = redis.call('SMEMBERS', KEYS[2])
  redis.call('DEL', KEYS[2])
  for at = 1, #names do redis.call('ZADD', KEYS[2], 0, names[at]) end
elseif kind ~= 'zset' and kind ~= 'none' then
  redis.call('DEL', KEYS[2])
end
-- As of when there is everything is said anew: what stands there was said by another sequence.
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'epoch', ARGV[2], 'sequence', '0', 'complete', '0', 'as_of', '',
  'names', tostring(redis.call('ZCARD', KEYS[2])))
return ''
