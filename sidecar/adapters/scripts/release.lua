-- Give a lease back, if it is still the owner's.   KEYS: lease   ARGV: owner
local time = redis.call('TIME')
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return {time[1] * 1000 + math.floor(time[2] / 1000)}
