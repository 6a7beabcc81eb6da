#!lua
-- Writes, so that a wait for disks and replicas on this connection covers all that is in the log by now.
-- KEYS: instances; then cell and log, so that a Cluster that moves them refuses this while they lie on two nodes. ARGV: a
-- position.
local begun, position = unpack(redis.call('HMGET', KEYS[2], 'begun', 'position'))
if begun and position ~= begun and redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3]) < 3 then
  return redis.error_reply('TORN keys of the shared log are at different nodes, or some are gone')
end
redis.call('HSET', KEYS[1], 'confirmed', ARGV[1])
return 1
