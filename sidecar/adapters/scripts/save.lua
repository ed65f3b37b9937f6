-- A grant's next version, if it is still at the one before.
-- KEYS: grant   ARGV: version, write id, sealed, end ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local grant = redis.call('HMGET', KEYS[1], 's', 'v', 'w')
if not grant[1] then return {now, 'missing'} end
if grant[1] == 'ended' then return {now, 'ended'} end
if grant[3] == ARGV[2] then return {now, 'saved'} end
if tonumber(grant[2]) ~= ARGV[1] - 1 then return {now, 'moved'} end
redis.call('HSET', KEYS[1], 'v', ARGV[1], 'w', ARGV[2], 'd', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
return {now, 'saved'}
