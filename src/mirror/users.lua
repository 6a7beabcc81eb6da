-- Adds users of a day.
--
-- Keys: the marker, the counter's meta, the set. Arguments: id, the sequence number before and after this call, epoch
-- and generation, when the set expires (milliseconds since 1970), then the ids. Answer: that of the script that writes.
-- A set of another generation is begun anew.
redis.call('HSET', KEYS[1], 'sequence', ARGV[3])
local there = redis.call('HMGET', KEYS[2], 'revision', 'users_of')
-- The counter is gone by now: no set is made for it.
if not there[1] then return {'ok', '0', '0', '0'} end
if there[2] ~= ARGV[4] then
  redis.call('DEL', KEYS[3])
  redis.call('HSET', KEYS[2], 'users_of', ARGV[4])
end
local added = 0
for at = 6, #ARGV, 1000 do
  added = added + redis.call('SADD', KEYS[3], unpack(ARGV, at, math.min(at + 999, #ARGV)))
end
redis.call('PEXPIREAT', KEYS[3], ARGV[5])
return {'ok', tostring(added), '0', '0'}
