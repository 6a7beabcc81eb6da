#!lua
-- Notes that a cell lost groups, so that nobody appends to it. KEYS: cell. ARGV: epoch, where the log ends, where it ended.
if redis.call('HGET', KEYS[1], 'epoch') == ARGV[1] then
  redis.call('HSETNX', KEYS[1], 'lost', ARGV[2] .. ' ' .. ARGV[3])
end
return 1
