-- A tombstone that the store has lost, whatever stands there.
-- KEYS: record, index   ARGV: digest or grant id, reason, write id, tombstone ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if redis.call('HGET', KEYS[1], 's') == 'ended' then return {now} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'f', '1', 's', 'ended', 'v', '0', 'w', ARGV[3], 'r', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('HDEL', KEYS[2], ARGV[1])
return {now}
