#!lua
-- Gives the chores of a cell to an instance, or goes on giving them. KEYS: lease. ARGV: instance, for how many
-- milliseconds (0 gives them back). Answers 1 where the instance has them.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  redis.call('DEL', KEYS[1])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
