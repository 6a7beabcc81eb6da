#!lua flags=no-writes
-- Answers the first command of the other scripts that the user may not call; nothing where it may call all of them.
-- ARGV: the keys cell, log, instances, hashes, lease, a hash of records, up. None is touched, so a Cluster may be moving them.
local calls = {
  {'HMGET', ARGV[1], 'f'}, {'HSET', ARGV[1], 'f', 'v'}, {'EXISTS', ARGV[1]}, {'HEXISTS', ARGV[1], 'f'},
  {'HGET', ARGV[1], 'f'}, {'HSETNX', ARGV[1], 'f', 'v'}, {'HDEL', ARGV[1], 'f'},
  {'XRANGE', ARGV[2], '-', '+'}, {'XADD', ARGV[2], '1-0', 'f', 'v'}, {'DEL', ARGV[2]}, {'EXISTS', ARGV[2]},
  {'XLEN', ARGV[2]}, {'XTRIM', ARGV[2], 'MAXLEN', '1'},
  {'HGET', ARGV[3], 'f'}, {'HSET', ARGV[3], 'f', 'v'}, {'HDEL', ARGV[3], 'f'},
  {'SADD', ARGV[4], 'm'}, {'SREM', ARGV[4], 'm'}, {'SMISMEMBER', ARGV[4], 'm'},
  {'GET', ARGV[5]}, {'SET', ARGV[5], 'v'}, {'DEL', ARGV[5]},
  {'HSET', ARGV[6], 'f', 'v'}, {'HDEL', ARGV[6], 'f'}, {'UNLINK', ARGV[6]},
  {'TIME'}, {'ZADD', ARGV[7], '0', 'm'}, {'ZREM', ARGV[7], 'm'}, {'ZRANGEBYSCORE', ARGV[7], '0', '0'},
}
for _, call in ipairs(calls) do
  if not redis.acl_check_cmd(unpack(call)) then
    return call[1] .. ' ' .. (call[2] or '')
  end
end
return false
