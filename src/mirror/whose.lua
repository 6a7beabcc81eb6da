-- Tells whose the keys are. Changes nothing.
--
-- Keys: the marker, the names. Arguments: what the key of a counter begins with. Answer: lineage and epoch of the
-- marker, each empty where there is none; how many names were looked at, 0 where there are none; then the epochs
-- beside their values.
local marker = redis.pcall('HMGET', KEYS[1], 'lineage', 'epoch')
if marker.err then marker = {} end
local kind = redis.call('TYPE', KEYS[2]).ok
local names = {}
if kind == 'zset' then names = redis.call('ZRANGEBYLEX', KEYS[2], '-', '+', 'LIMIT', '0', '100') end
-- Of an earlier version.
if kind == 'set' then names = redis.call('SMEMBERS', KEYS[2]) end
local answer = { marker[1] or '', marker[2] or '', tostring(#names) }
for at = 1, math.min(#names, 100) do
  local epoch = redis.pcall('HGET', ARGV[1] .. names[at] .. ':meta', 'epoch')
  if type(epoch) == 'string' then answer[#answer + 1] = epoch end
end
return answer
