#!lua flags=no-writes
-- Answers the first command of the other scripts that the user may not call; nothing where it may call all of them.
-- KEYS: cell, log, instances, hashes, lease, a hash of records, up.
local calls = {
  {'HMGET', KEYS[1], 'f'}, {'HSET', KEYS[1], 'f', 'v'}, {'EXISTS', KEYS[1]}, {'HEXISTS', KEYS[1], 'f'},
  {'HGET', KEYS[1], 'f'}, {'HSETNX', KEYS[1], 'f', 'v'}, {'HDEL', KEYS[1], 'f'},
  {'XRANGE', KEYS[2], '-', '+'}, {'XADD', KEYS[2], '1-0', 'f', 'v'}, {'DEL', KEYS[2]},
  {'XLEN', KEYS[2]}, {'XTRIM', KEYS[2], 'MAXLEN', '1'},
  {'HGET', KEYS[3], 'f'}, {'HSET', KEYS[3], 'f', 'v'}, {'HDEL', KEYS[3], 'f'}, {'SADD', KEYS[4], 'm'}, {'SREM', KEYS[4], 'm'},
  {'GET', KEYS[5]}, {'SET', KEYS[5], 'v'}, {'DEL', KEYS[5]},
  {'HSET', KEYS[6], 'f', 'v'}, {'HDEL', KEYS[6], 'f'}, {'UNLINK', KEYS[6]},
  {'TIME'}, {'ZADD', KEYS[7], '0', 'm'}, {'ZREM', KEYS[7], 'm'}, {'ZRANGEBYSCORE', KEYS[7], '0', '0'},
}
for _, call in ipairs(calls) do
  if not redis.acl_check_cmd(unpack(call)) then
    return call[1] .. ' ' .. (call[2] or '')
  end
end
return false
