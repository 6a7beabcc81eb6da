#!lua
-- Removes what an earlier attempt to move a store in wrote. KEYS: moving, the key that is removed. ARGV: the name of this
-- attempt. Answers 0 where it is not the attempt that began last.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('UNLINK', KEYS[2])
return 1
