-- Gives the keys to this store, which then writes all of them anew. No value is deleted here.
--
-- Keys: the marker, the names. Arguments: the store's lineage, what the key of a counter begins with.
local kind = redis.call('TYPE', KEYS[2]).ok
local names = {}
if kind == 'zset' then names = redis.call('ZRANGEBYLEX', KEYS[2], '-', '+') end
if kind == 'set' then names = redis.call('SMEMBERS', KEYS[2]) end
for at = 1, #names do
  -- The first state of all: whatever this store writes is later.
  redis.pcall('HSET', ARGV[2] .. names[at] .. ':meta', 'epoch', '0', 'revision', '0')
end
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'id', '', 'epoch', '0', 'lineage', ARGV[1], 'sequence', '0', 'complete', '0', 'as_of', '')
return 'OK'
