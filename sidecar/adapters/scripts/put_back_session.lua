-- A session that the store has lost, where nothing stands.
-- KEYS: session, index
-- ARGV: digest, version, write id, sealed, seen ms, idle end ms, grant id, end ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local state = redis.call('HGET', KEYS[1], 's')
if state then return {now, state == 'ended' and 'ended' or 'saved'} end
redis.call('HSET', KEYS[1], 'f', '1', 's', 'live', 'v', ARGV[2], 'w', ARGV[3], 'd', ARGV[4],
  'seen', ARGV[5])
redis.call('PEXPIREAT', KEYS[1], ARGV[6])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[7])
if redis.call('PTTL', KEYS[2]) < ARGV[8] - now then redis.call('PEXPIREAT', KEYS[2], ARGV[8]) end
return {now, 'saved'}
