-- Reads names in order. Changes nothing.
--
-- Keys: the marker, the names. Arguments: from, to, how many. Answer: `ok`, then the names; an empty
-- list where the names are not those that were written.
local function of(answer)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if string.sub(answer.err, 1, 9) ~= 'WRONGTYPE' then error(answer) end
  return nil
end
local marker = of(redis.pcall('HMGET', KEYS[1], 'id', 'names')) or {}
-- Where no mirror has written, an empty list does not show that there are no counters.
local written = marker[1] and tonumber(marker[2] or '')
if not written or of(redis.pcall('ZCARD', KEYS[2])) ~= written then return {} end
local names = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', '0', ARGV[3])
table.insert(names, 1, 'ok')
return names
