#!lua
-- Writes, so that a wait for disks and replicas on this connection covers all that is in the log by now.
-- KEYS: instances. ARGV: a position.
redis.call('HSET', KEYS[1], 'confirmed', ARGV[1])
return 1
