#!lua
-- The line above has Redis judge memory, role, replicas and disk before the first command, and not amid them.
-- Appends one group to the log of a cell, if the log ends where the group was judged by.
-- KEYS: cell, log, instances, hashes; then each hash with records of the group.
-- ARGV: epoch, expected position, expected tail, instance, its sequence, the entry, longest log, after how many bytes more its
-- size is looked at, up to where the instance knows the log to be acknowledged, whether it knows of a group of its own (1) or
-- not (0); then each change, in order: which hash (1 is the first), field, value; of a record to delete the number of the hash
-- is negative, and there is no value.
-- Answers a word, a position, and with 'behind' also the tail and the first entries after the expected position.
local epoch, position, tail, lost, moved, begun, bytes, since = unpack(redis.call('HMGET', KEYS[1],
  'epoch', 'position', 'tail', 'lost', 'moved', 'begun', 'bytes', 'since'))
if epoch ~= ARGV[1] then
  return {'epoch', epoch or ''}
end
-- A Cluster that failed over while it moved the slot has keys at a node that nobody is sent to: what is missing here is not
-- gone. A cell of an earlier version does not tell what there must be.
if begun and position ~= begun and redis.call('EXISTS', KEYS[2], KEYS[3], KEYS[4]) < 3 then
  return redis.error_reply('TORN keys of the shared log are at different nodes, or some are gone')
end
local done = redis.call('HGET', KEYS[3], ARGV[4])
if done then
  local sequence, at = string.match(done, '^(%d+) (%d+)$')
  if sequence == ARGV[5] then
    -- A write, so that a wait for replicas on this connection waits for the group as well.
    redis.call('HSET', KEYS[3], ARGV[4], done)
    return {'appended', at}
  end
end
if not done and ARGV[10] == '1' then
  return {'forgotten', ''}
end
if lost or moved then
  return {'lost', lost or moved}
end
if position ~= ARGV[2] or tail ~= ARGV[3] then
  -- A megabyte of them or so: more would keep Redis from all others, and the next answer has the rest.
  local entries, length, from = {}, 0, '(' .. ARGV[2] .. '-0'
  repeat
    local some = redis.call('XRANGE', KEYS[2], from, '+', 'COUNT', 20)
    for _, entry in ipairs(some) do
      entries[#entries + 1] = entry
      length = length + #entry[2][#entry[2]]
      from = '(' .. entry[1]
    end
  until #some < 20 or #entries >= 1000 or length >= 1048576
  return {'behind', position or '', tail or '', entries}
end
if begun then
  local known = 0
  for _, is in ipairs(KEYS[5] and redis.call('SMISMEMBER', KEYS[4], unpack(KEYS, 5)) or {}) do
    known = known + is
  end
  if known > 0 and redis.call('EXISTS', unpack(KEYS, 5)) < known then
    return redis.error_reply('TORN keys of the shared log are at different nodes, or some are gone')
  end
end
local following = string.format('%.0f', tonumber(position) + 1)
local own = ARGV[4] .. ' ' .. ARGV[5]
-- First: where the log is not that of the cell, this fails before anything is written.
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], following .. '-0', 'b', tail, 't', own, 'd', ARGV[9], 'e', ARGV[6])
bytes, since = tonumber(bytes or '0') + #ARGV[6], since or position
if bytes > tonumber(ARGV[8]) then
  -- By the mean of the groups since the last look: where all are more than so many bytes, half as many are kept.
  local kept = math.max(1, math.floor(ARGV[8] / 2 / (bytes / (following - since))))
  if redis.call('XLEN', KEYS[2]) > 2 * kept then
    redis.call('XTRIM', KEYS[2], 'MAXLEN', kept)
  end
  bytes, since = 0, following
end
local at = 11
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
for at = 5, #KEYS do
  if redis.call('EXISTS', KEYS[at]) == 1 then
    redis.call('SADD', KEYS[4], KEYS[at])
  else
    -- A hash without a record is no key, and none that is missing.
    redis.call('SREM', KEYS[4], KEYS[at])
  end
end
redis.call('HSET', KEYS[1], 'position', following, 'tail', own, 'bytes', string.format('%.0f', bytes), 'since', since)
redis.call('HSET', KEYS[3], ARGV[4], ARGV[5] .. ' ' .. following)
return {'appended', following}
