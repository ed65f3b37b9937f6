-- Whether an entry is in a queue now, which takes so many at most, and ends if nothing comes.
-- KEYS: a sorted set   ARGV: entry, due ms, limit, life ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local there = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not there then
  if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return {now, '0'} end
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return {now, '1'}
