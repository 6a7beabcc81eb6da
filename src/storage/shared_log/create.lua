-- Makes a cell where there is none. KEYS: cell, hashes, the hash of the family meta. ARGV: format, version of the merge
-- operator, epoch, then each record of meta: key, value.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[3], unpack(ARGV, 4))
  redis.call('SADD', KEYS[2], KEYS[3])
  redis.call('HSET', KEYS[1], 'format', ARGV[1], 'merge', ARGV[2], 'epoch', ARGV[3], 'position', '0')
end
return 1
