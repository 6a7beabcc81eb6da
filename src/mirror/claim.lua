-- Takes the marker over for a new sequence.
--
-- Keys: the marker, the names. Arguments: id, epoch. Answer: empty, or the later epoch that is there already.
local theirs = redis.pcall('HGET', KEYS[1], 'epoch')
if type(theirs) == 'table' then redis.call('DEL', KEYS[1]) theirs = false end
if theirs and tonumber(theirs) > tonumber(ARGV[2]) then return theirs end
local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', KEYS[2]) end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'epoch', ARGV[2], 'sequence', '0', 'complete', '0')
return ''
