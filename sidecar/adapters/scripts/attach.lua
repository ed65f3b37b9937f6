-- A new session, with the next version of its grant (version 1 makes the grant).
-- KEYS: session, grant, index
-- ARGV: digest, session write id, session sealed, idle end ms,
--       grant id, grant version, grant write id, grant sealed, grant end ms,
--       '1' if the user's sessions share it, the grants' key up to the id
-- The grants' keys are in the slot of those that are named.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local session = redis.call('HMGET', KEYS[1], 's', 'w')
if session[2] == ARGV[2] then return {now, 'saved'} end
if session[1] then return {now, session[1] == 'ended' and 'ended' or 'moved'} end

if ARGV[10] == '1' then
  local shared = redis.call('HGET', KEYS[3], 'shared')
  if shared and shared ~= ARGV[5] and redis.call('HGET', ARGV[11] .. shared, 's') == 'live' then
    return {now, 'moved'}
  end
end
local grant = redis.call('HMGET', KEYS[2], 's', 'v')
if grant[1] == 'ended' then return {now, 'ended'} end
if not grant[1] and ARGV[6] ~= '1' then return {now, 'missing'} end
if grant[1] and tonumber(grant[2]) ~= ARGV[6] - 1 then return {now, 'moved'} end

redis.call('HSET', KEYS[1], 'f', '1', 's', 'live', 'v', '1', 'w', ARGV[2], 'd', ARGV[3],
  'seen', now)
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
redis.call('HSET', KEYS[2], 'f', '1', 's', 'live', 'v', ARGV[6], 'w', ARGV[7], 'd', ARGV[8])
redis.call('PEXPIREAT', KEYS[2], ARGV[9])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[5])
if ARGV[10] == '1' then redis.call('HSET', KEYS[3], 'shared', ARGV[5]) end
if redis.call('PTTL', KEYS[3]) < ARGV[9] - now then redis.call('PEXPIREAT', KEYS[3], ARGV[9]) end
return {now, 'saved'}
