-- Reads counters. Changes nothing.
--
-- Keys: the marker, then for each counter its value and its meta. Answer: a list of what the marker says
-- (complete, as_of), then for each counter value, last_updated, type, period, epoch, revision, expires_at;
-- what is not there, is not known, or is of another type, is nothing.
local function of(answer)
  if type(answer) ~= 'table' or not answer.err then return answer end
  -- Not being let read is not the same as there being nothing.
  if string.sub(answer.err, 1, 9) ~= 'WRONGTYPE' then error(answer) end
  return nil
end
local function hash(key, ...)
  return of(redis.pcall('HMGET', key, ...)) or {}
end
local marker = hash(KEYS[1], 'complete', 'as_of', 'epoch')
local answer = { { marker[1] or false, marker[2] or false } }
for at = 2, #KEYS, 2 do
  local value = of(redis.pcall('GET', KEYS[at])) or false
  local meta = hash(KEYS[at + 1], 'last_updated', 'type', 'period', 'epoch', 'revision', 'expires_at', 'unknown')
  if meta[7] and meta[7] ~= '' then value = false end
  -- Of a history that was given up, once everything of the present one is there.
  if marker[1] == '1' and meta[4] ~= marker[3] then value = false end
  answer[#answer + 1] = { value, meta[1] or false, meta[2] or false, meta[3] or false, meta[4] or false,
    meta[5] or false, meta[6] or false }
end
return answer
