-- Reads counters. Changes nothing.
--
-- Keys: the marker, then for each counter its value and its meta. Answer: a list of complete and as_of in the marker,
-- then for each counter a list of value, last_updated, type, period, epoch, revision, expires_at; nil for each that is
-- not there, not known, or of another type.
local function of(answer)
  if type(answer) ~= 'table' or not answer.err then return answer end
  -- A key that may not be read is not the same as no key.
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
  -- Once everything of the present history is there, values of an earlier one count for nothing.
  if marker[1] == '1' and meta[4] ~= marker[3] then value = false end
  answer[#answer + 1] = { value, meta[1] or false, meta[2] or false, meta[3] or false, meta[4] or false,
    meta[5] or false, meta[6] or false }
end
return answer
