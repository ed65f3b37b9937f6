-- Grants that are due, hidden from others for a while.
-- KEYS: a shard's sorted set   ARGV: now ms, how many, hidden until ms
local time = redis.call('TIME')
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, member in ipairs(due) do redis.call('ZADD', KEYS[1], 'XX', ARGV[3], member) end
return {time[1] * 1000 + math.floor(time[2] / 1000), unpack(due)}
