#!lua
-- Writes some records of a store that is moved in. KEYS: moving, hashes, the hash of the records. ARGV: the name of the
-- attempt, then each record: field, value. Answers 0 where it is not the attempt that began last.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SADD', KEYS[2], KEYS[3])
for at = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
end
return 1
