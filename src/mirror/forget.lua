-- Takes names out that no counter can have.
--
-- Keys: the marker, the names. Arguments: id, the sequence number before and after this call, then the names to take
-- out. Answer: that of the script that writes.
local marker = redis.pcall('HMGET', KEYS[1], 'id', 'sequence')
if marker.err or marker[1] ~= ARGV[1] or marker[2] ~= ARGV[2] then
  return {'lost', not marker.err and marker[1] or '', '0', '0'}
end
for at = 4, #ARGV do redis.call('ZREM', KEYS[2], ARGV[at]) end
redis.call('HSET', KEYS[1], 'sequence', ARGV[3], 'names', tostring(redis.call('ZCARD', KEYS[2])))
return {'ok', '0', '0', '0'}
