-- A grant that the store has lost, over the version that was seen; its lease is held for a while.
-- KEYS: grant, lease, index
-- ARGV: version seen (0: nothing), version, write id, sealed, end ms, hold ms,
--       its id if the user's sessions share it, else '', the grants' key up to the id
-- The grants' keys are in the slot of those that are named.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local grant = redis.call('HMGET', KEYS[1], 's', 'v', 'w')
if grant[1] == 'ended' then return {now, 'ended'} end
if grant[3] == ARGV[3] then return {now, 'saved'} end
if (grant[2] or '0') ~= ARGV[1] then return {now, 'moved'} end
redis.call('HSET', KEYS[1], 'f', '1', 's', 'live', 'v', ARGV[2], 'w', ARGV[3], 'd', ARGV[4])
redis.call('PEXPIREAT', KEYS[1], ARGV[5])
redis.call('SET', KEYS[2], ARGV[3], 'NX', 'PX', ARGV[6])
if ARGV[7] ~= '' then
  local shared = redis.call('HGET', KEYS[3], 'shared')
  if not shared or redis.call('HGET', ARGV[8] .. shared, 's') ~= 'live' then
    redis.call('HSET', KEYS[3], 'shared', ARGV[7])
  end
  if redis.call('PTTL', KEYS[3]) < ARGV[5] - now then redis.call('PEXPIREAT', KEYS[3], ARGV[5]) end
end
return {now, 'saved'}
