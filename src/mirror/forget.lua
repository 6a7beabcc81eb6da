-- Takes names out that no counter can have.
--
-- Keys: the marker, the names. Arguments: id, the sequence number before and after this call, then the names to take
-- out. Answer: that of the script that writes.
for at = 4, #ARGV do redis.call('ZREM', KEYS[2], ARGV[at]) end
redis.call('HSET', KEYS[1], 'sequence', ARGV[3], 'names', tostring(redis.call('ZCARD', KEYS[2])))
return {'ok', '0', '0', '0'}
