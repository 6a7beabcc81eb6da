#!lua
-- Begins to move a store into a cell where there is none. KEYS: cell, moving, hashes, log, instances, the hash of the family
-- meta. ARGV: the name of this attempt. Answers 'cell' where there is one, and 'parts' where there are parts of a log that no
-- earlier attempt wrote.
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 'cell'
end
if redis.call('EXISTS', KEYS[2]) == 0 and redis.call('EXISTS', unpack(KEYS, 3)) > 0 then
  return 'parts'
end
redis.call('SET', KEYS[2], ARGV[1])
return 'begun'
