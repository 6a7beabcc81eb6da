-- Appends one group to the log of a cell, if nothing was appended since the position that it was judged by.
-- KEYS: cell, log, instances, hashes; then each hash with records of the group.
-- ARGV: epoch, expected position, instance, its sequence, the entry, longest log; then each change, in order: which hash
-- (1 is the first), field, value; of a record to delete the number of the hash is negative, and there is no value.
-- Answers a word, a position, and with 'behind' also the entries after the expected position.
local epoch, position = unpack(redis.call('HMGET', KEYS[1], 'epoch', 'position'))
if epoch ~= ARGV[1] then
  return {'epoch', epoch or ''}
end
local done = redis.call('HGET', KEYS[3], ARGV[3])
if done then
  local sequence, at = string.match(done, '^(%d+) (%d+)$')
  if sequence == ARGV[4] then
    -- A write, so that a wait for replicas on this connection waits for the group as well.
    redis.call('HSET', KEYS[3], ARGV[3], done)
    return {'appended', at}
  end
end
if position ~= ARGV[2] then
  local since = redis.call('XRANGE', KEYS[2], '(' .. ARGV[2] .. '-0', '+', 'COUNT', 1000)
  return {'behind', position or '', since}
end
local at = 7
while ARGV[at] do
  local hash = tonumber(ARGV[at])
  if hash > 0 then
    redis.call('HSET', KEYS[4 + hash], ARGV[at + 1], ARGV[at + 2])
    at = at + 3
  else
    redis.call('HDEL', KEYS[4 - hash], ARGV[at + 1])
    at = at + 2
  end
end
if KEYS[5] then
  redis.call('SADD', KEYS[4], unpack(KEYS, 5))
end
local following = string.format('%.0f', tonumber(position) + 1)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[6], following .. '-0', 'e', ARGV[5])
redis.call('HSET', KEYS[1], 'position', following)
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4] .. ' ' .. following)
return {'appended', following}
