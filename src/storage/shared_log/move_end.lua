#!lua
-- Makes a cell of a store that was moved in. KEYS: moving, cell. ARGV: the name of the attempt, format, version of the merge
-- operator, epoch. Answers 0 where it is not the attempt that began last.
if redis.call('HGET', KEYS[2], 'log') == ARGV[1] then
  -- A connection waits for what was written on it.
  redis.call('HSET', KEYS[2], 'log', ARGV[1])
  return 1
end
if redis.call('GET', KEYS[1]) ~= ARGV[1] or redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
redis.call('HSET', KEYS[2], 'format', ARGV[2], 'merge', ARGV[3], 'epoch', ARGV[4], 'log', ARGV[1])
-- Before the first group its own name is what tells it from another log of the same store.
redis.call('HSET', KEYS[2], 'position', '0', 'tail', ARGV[1], 'begun', '0')
redis.call('DEL', KEYS[1])
return 1
