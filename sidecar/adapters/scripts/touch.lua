-- Note that a live session was used. Its place in the index is written again if that was lost.
-- KEYS: session, index   ARGV: seen at ms, idle end ms, digest, grant id, end ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HGET', KEYS[1], 's') ~= 'live' then return {now} end
redis.call('HSET', KEYS[1], 'seen', ARGV[1])
redis.call('PEXPIREAT', KEYS[1], ARGV[2])
if redis.call('HSETNX', KEYS[2], ARGV[3], ARGV[4]) == 1 then
  if redis.call('PTTL', KEYS[2]) < ARGV[5] - now then redis.call('PEXPIREAT', KEYS[2], ARGV[5]) end
end
return {now}
