#!lua
-- Begins another epoch of a cell that lost groups, or of one that is gone. KEYS: cell, log, hashes, the hash of the family
-- meta; then each key in hashes. ARGV: the epoch that was found ('' where the cell is gone), the next one, format, version of
-- the merge operator, then the record of the lineage: key, value. Answers 0 where the epoch is another one by now.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if (epoch or '') ~= ARGV[1] then
  return 0
end
-- All records are in the hashes, and whoever follows reads them anew.
redis.call('DEL', KEYS[2])
for at = 5, #KEYS do
  if redis.call('EXISTS', KEYS[at]) == 0 then
    redis.call('SREM', KEYS[3], KEYS[at])
  end
end
redis.call('HSET', KEYS[4], ARGV[5], ARGV[6])
redis.call('SADD', KEYS[3], KEYS[4])
redis.call('HSETNX', KEYS[1], 'position', '0')
redis.call('HSETNX', KEYS[1], 'tail', '')
local position = redis.call('HGET', KEYS[1], 'position')
redis.call('HSET', KEYS[1], 'format', ARGV[3], 'merge', ARGV[4], 'epoch', ARGV[2], 'begun', position)
redis.call('HDEL', KEYS[1], 'lost')
return 1
