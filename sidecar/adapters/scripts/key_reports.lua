-- What the replicas have reported of their keys.   KEYS: reports
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HLEN', KEYS[1]) > 1000 then return {now} end
return {now, redis.call('HGETALL', KEYS[1])}
