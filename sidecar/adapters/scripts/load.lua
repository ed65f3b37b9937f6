-- A session and, by the index, its grant: one trip.
-- KEYS: session, index   ARGV: digest, the grants' key up to the id
-- The grant's key is in the slot of the two that are named.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local session = redis.call('HMGET', KEYS[1], 'f', 's', 'v', 'w', 'd', 'r', 'seen')
if not session[2] then return {now} end
local id = redis.call('HGET', KEYS[2], ARGV[1])
if not id then return {now, session} end
return {now, session, id, redis.call('HMGET', ARGV[2] .. id, 'f', 's', 'v', 'w', 'd', 'r')}
