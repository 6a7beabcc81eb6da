-- Begins each script that writes: a call whose marker is not the one that is there changes nothing.
local marker = redis.pcall('HMGET', KEYS[1], 'id', 'sequence', 'complete', 'names')
if marker.err or marker[1] ~= ARGV[1] or marker[2] ~= ARGV[2] then
  return {'lost', not marker.err and marker[1] or '', '0', '0'}
end
