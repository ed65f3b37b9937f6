-- Whether a login's state is redeemed now, and by this owner: asked again, it still is.
-- KEYS: marker   ARGV: owner, life ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner then return {now, owner == ARGV[1] and '1' or '0'} end
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {now, '1'}
