-- Notes that an instance is up. KEYS: up. ARGV: instance, for how many milliseconds after its last note it is taken to be
-- up (0: it is not up any more). Answers the time, in milliseconds since 1970.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '0' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2]))
end
return string.format('%.0f', now)
