-- A record's content, sealed by another key, where it is still the write that was opened.
-- KEYS: record   ARGV: version, write id, sealed
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local record = redis.call('HMGET', KEYS[1], 's', 'v', 'w')
if not record[1] then return {now, 'missing'} end
if record[1] == 'ended' then return {now, 'ended'} end
if record[2] ~= ARGV[1] or record[3] ~= ARGV[2] then return {now, 'moved'} end
redis.call('HSET', KEYS[1], 'd', ARGV[3])
return {now, 'saved'}
