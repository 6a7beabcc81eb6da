-- Notes that an instance is up, and forgets the last groups of those that were not for long. KEYS: up, instances. ARGV:
-- instance, whether it is up (0: not any more), for how many milliseconds after its last note it is taken to be up, and for how
-- many it is remembered. Answers the time, in milliseconds since 1970.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local noted = ARGV[2] == '1' and now or now - ARGV[3] - 1
redis.call('ZADD', KEYS[1], string.format('%.0f', noted), ARGV[1])
local before = string.format('%.0f', now - ARGV[4])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', before, 'LIMIT', 0, 100)) do
  local last = redis.call('HGET', KEYS[2], gone)
  local position = last and tonumber(string.match(last, ' (%d+)$'))
  if position then
    -- Up to where a group may be of an instance that is not known any more.
    local forgotten = redis.call('HGET', KEYS[2], 'forgotten')
    if position > tonumber(forgotten or '0') then
      redis.call('HSET', KEYS[2], 'forgotten', string.format('%.0f', position))
    end
    redis.call('HDEL', KEYS[2], gone)
  end
  redis.call('ZREM', KEYS[1], gone)
end
return string.format('%.0f', now)
