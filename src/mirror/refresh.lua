-- Writes values of counters whose meta stands otherwise as this sequence wrote it.
--
-- Keys: the marker, the names, then for each counter its value and its meta.
-- Arguments: id, the sequence number before and after this call; then for each counter value, revision, last_updated.
-- Answer: that of the script that writes. A counter whose meta is not there any more is not counted, and loses what is
-- left of it: it is then written whole.
if redis.pcall('ZCARD', KEYS[2]) ~= tonumber(marker[4]) then return {'lost', '', '0', '0'} end
local written, at = 0, 4
for key = 3, #KEYS, 2 do
  local added = redis.pcall('HSET', KEYS[key + 1], 'last_updated', ARGV[at + 2], 'revision', ARGV[at + 1])
  if type(added) == 'table' and string.sub(added.err, 1, 9) ~= 'WRONGTYPE' then
    -- Redis takes no writes now: what is there stays.
    return added
  end
  if added == 0 then
    redis.call('SET', KEYS[key], ARGV[at])
    written = written + 1
  else
    redis.call('DEL', KEYS[key + 1])
  end
  at = at + 3
end
redis.call('HSET', KEYS[1], 'sequence', ARGV[3])
return {'ok', tostring(written), '0', '0'}
