-- Reads counters. Changes nothing.
--
-- Keys: the marker, then for each counter its value and its meta. Answer: a list of what the marker says
-- (complete, as_of), then for each counter value, last_updated, type, period, epoch, revision; what is not
-- there, or is of another type, is nothing.
-- What is of another type is nothing; what may not be read is an error.
local function nothing(there)
  if string.find(there.err, 'WRONGTYPE') then return {} end
  error(there.err)
end
local function hash(key, ...)
  local there = redis.pcall('HMGET', key, ...)
  return there.err and nothing(there) or there
end
local marker = hash(KEYS[1], 'complete', 'as_of')
local answer = { { marker[1] or false, marker[2] or false } }
for at = 2, #KEYS, 2 do
  local value = redis.pcall('GET', KEYS[at])
  if type(value) == 'table' then nothing(value) value = false end
  local meta = hash(KEYS[at + 1], 'last_updated', 'type', 'period', 'epoch', 'revision')
  answer[#answer + 1] = { value, meta[1] or false, meta[2] or false, meta[3] or false, meta[4] or false, meta[5] or false }
end
return answer
