#!lua
-- Writes, so that a wait for disks and replicas on this connection covers all that is in the log by now.
-- KEYS: instances; then cell and log, so that a Cluster that moves them refuses this while they lie on two nodes. ARGV: a
-- position.
redis.call('HSET', KEYS[1], 'confirmed', ARGV[1])
return 1
