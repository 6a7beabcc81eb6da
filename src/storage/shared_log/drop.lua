#!lua
-- Removes the records of one day or bucket that is over. KEYS: cell, hashes, the hash of the records. ARGV: the epoch in which
-- it is over.
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
  redis.call('UNLINK', KEYS[3])
  redis.call('SREM', KEYS[2], KEYS[3])
end
return 1
