#!lua
-- Makes a cell where there is nothing. KEYS: cell, hashes, log, instances, the hash of the family meta, moving. ARGV: format,
-- version of the merge operator, epoch, then the record of the lineage: key, value. Answers 0 where there are parts of a log
-- without a cell, and 2 where a store is being moved in.
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HEXISTS', KEYS[1], 'tail') == 0 then
    -- Of a version whose groups did not name the one before. All records are in the hashes.
    redis.call('DEL', KEYS[3])
    redis.call('HSET', KEYS[1], 'tail', '')
  end
  return 1
end
if redis.call('EXISTS', KEYS[6]) == 1 then
  return 2
end
if redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4], KEYS[5]) > 0 then
  return 0
end
redis.call('HSET', KEYS[5], ARGV[4], ARGV[5])
redis.call('SADD', KEYS[2], KEYS[5])
redis.call('HSET', KEYS[1], 'format', ARGV[1], 'merge', ARGV[2], 'epoch', ARGV[3], 'position', '0', 'tail', '', 'begun', '0')
return 1
