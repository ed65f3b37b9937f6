-- Of records that are known by their write ids, those that are not so any more.
-- KEYS: records   ARGV: their write ids, in this order
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local answer = {now}
for i, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'w') ~= ARGV[i] then
    answer[#answer + 1] = {i, redis.call('HMGET', key, 'f', 's', 'v', 'w', 'd', 'r')}
  end
end
return answer
