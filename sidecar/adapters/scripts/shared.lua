-- The id of the live grant that a user's sessions share.
-- KEYS: index   ARGV: the grants' key up to the id, which is in the slot of the index
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local id = redis.call('HGET', KEYS[1], 'shared')
if id and redis.call('HGET', ARGV[1] .. id, 's') == 'live' then return {now, id} end
return {now}
