#!lua
-- Sets a field of a hash, if the log ends where it did and no instance is up. KEYS: cell, up, the hash. ARGV: epoch, position,
-- tail, for how many milliseconds after its last note an instance is taken to be up, field, value.
local epoch, position, tail, lost, moved = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'position', 'tail', 'lost', 'moved'))
if epoch ~= ARGV[1] or position ~= ARGV[2] or tail ~= ARGV[3] or lost or (moved and moved ~= ARGV[6]) then
  return 'changed'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZCOUNT', KEYS[2], string.format('%.0f', now - ARGV[4]), '+inf') > 0 then
  return 'up'
end
redis.call('HSET', KEYS[3], ARGV[5], ARGV[6])
return 'set'
