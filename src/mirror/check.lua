-- Writes a key and takes it back, beside the mirror's own keys.
--
-- Keys: one for this alone, the marker, the names. Answer: the epoch in the marker; nil where there is none.

redis.call('SET', KEYS[1], '')
redis.call('DEL', KEYS[1])
redis.call('ZCARD', KEYS[3])
return redis.call('HGET', KEYS[2], 'epoch')
