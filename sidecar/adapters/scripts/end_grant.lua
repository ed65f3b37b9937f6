-- Tombstones for a grant at a version, and for all its sessions.
-- KEYS: grant, index
-- ARGV: grant id, version, reason, write id, tombstone ms, the sessions' key up to the digest
-- The sessions' keys are in the slot of those that are named.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local grant = redis.call('HMGET', KEYS[1], 's', 'v', 'w')
if grant[1] == 'ended' then return {now, grant[3] == ARGV[4] and 'saved' or 'ended'} end
if grant[1] and grant[2] ~= ARGV[2] then return {now, 'moved'} end

local function tombstone(key)
  redis.call('DEL', key)
  redis.call('HSET', key, 'f', '1', 's', 'ended', 'v', ARGV[2], 'w', ARGV[4], 'r', ARGV[3])
  redis.call('PEXPIRE', key, ARGV[5])
end
tombstone(KEYS[1])
local index = redis.call('HGETALL', KEYS[2])
for i = 1, #index, 2 do
  if index[i + 1] == ARGV[1] then
    if index[i] ~= 'shared' then tombstone(ARGV[6] .. index[i]) end
    redis.call('HDEL', KEYS[2], index[i])
  end
end
return {now, 'saved'}
