-- A tombstone for a session, and for its grant if no other live session has it.
-- KEYS: session, grant, index
-- ARGV: digest, grant id, reason, write id, tombstone ms, the sessions' key up to the digest
-- The other sessions' keys are in the slot of those that are named.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local session = redis.call('HMGET', KEYS[1], 's', 'w', 'last')
if session[1] == 'ended' then return {now, session[2] == ARGV[4] and session[3] or '0'} end

redis.call('HDEL', KEYS[3], ARGV[1])
local grant = redis.call('HMGET', KEYS[2], 'f', 's', 'v', 'w', 'd', 'r')
local last = grant[2] == 'live' and '1' or '0'
local index = redis.call('HGETALL', KEYS[3])
for i = 1, #index, 2 do
  if index[i] == 'shared' then
    -- no session, but the grant that the user's sessions share
  elseif redis.call('HGET', ARGV[6] .. index[i], 's') ~= 'live' then
    redis.call('HDEL', KEYS[3], index[i])
  elseif index[i + 1] == ARGV[2] then
    last = '0'
  end
end

-- Where nothing is, a tombstone is laid all the same: nothing may bring the session back.
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'f', '1', 's', 'ended', 'v', '0', 'w', ARGV[4], 'r', ARGV[3],
  'last', last)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
if last == '0' then return {now, '0'} end
if redis.call('HGET', KEYS[3], 'shared') == ARGV[2] then redis.call('HDEL', KEYS[3], 'shared') end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'f', '1', 's', 'ended', 'v', grant[3], 'w', ARGV[4], 'r', ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return {now, '1', grant}
