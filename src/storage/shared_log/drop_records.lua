#!lua
-- Removes records that are over. KEYS: cell, hashes, the hash of the records. ARGV: the epoch in which they are over, then the
-- key of each record.
if redis.call('EXISTS', KEYS[3]) == 0 then
  -- Where the list of hashes has it, its records are at another node. That it is missing here must stay to be seen.
  return 0
end
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
  for at = 2, #ARGV do
    redis.call('HDEL', KEYS[3], ARGV[at])
  end
  if redis.call('EXISTS', KEYS[3]) == 0 then
    -- A hash without a record is no key, and none that is missing.
    redis.call('SREM', KEYS[2], KEYS[3])
  end
end
return 1
