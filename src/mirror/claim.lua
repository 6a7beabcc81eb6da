-- Claims the marker for a new sequence, if it is still the one that was seen.
--
-- Keys: the marker, the names. Arguments: lineage and epoch that were seen in the marker (empty: none), then id,
-- epoch and lineage of the new sequence. Answer: 1, or 0 where the marker is another one by now.
local there = redis.pcall('HMGET', KEYS[1], 'lineage', 'epoch')
local spoilt = there.err
if spoilt then there = {} end
if (there[1] or '') ~= ARGV[1] or (there[2] or '') ~= ARGV[2] then return 0 end
if spoilt then redis.call('DEL', KEYS[1]) end
local kind = redis.call('TYPE', KEYS[2]).ok
if kind == 'set' then
  -- Of an earlier version. The names that the store does not have are looked for once everything is written.
  local names = redis.call('SMEMBERS', KEYS[2])
  redis.call('DEL', KEYS[2])
  for at = 1, #names do redis.call('ZADD', KEYS[2], 0, names[at]) end
elseif kind ~= 'zset' and kind ~= 'none' then
  redis.call('DEL', KEYS[2])
end
-- As of when Redis has everything is told anew: another sequence told what stands there.
redis.call('HSET', KEYS[1], 'id', ARGV[3], 'epoch', ARGV[4], 'lineage', ARGV[5], 'sequence', '0', 'complete', '0',
  'as_of', '', 'names', tostring(redis.call('ZCARD', KEYS[2])))
return 1
