-- The sessions that a user has beyond so many: those unused the longest, and never the named one.
-- KEYS: index   ARGV: the sessions' key up to the digest, how many, the digest of the named one
-- The sessions' keys are in the slot of the index.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local live, others = 0, {}
local index = redis.call('HGETALL', KEYS[1])
for i = 1, #index, 2 do
  if index[i] ~= 'shared' then
    local session = redis.call('HMGET', ARGV[1] .. index[i], 's', 'seen')
    if session[1] ~= 'live' then
      redis.call('HDEL', KEYS[1], index[i])
    else
      live = live + 1
      if index[i] ~= ARGV[3] then
        others[#others + 1] = {tonumber(session[2]) or 0, index[i], index[i + 1]}
      end
    end
  end
end
table.sort(others, function(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  return a[2] < b[2]
end)
local answer = {now}
for i = 1, math.min(live - ARGV[2], #others) do
  answer[#answer + 1] = others[i][2]
  answer[#answer + 1] = others[i][3]
end
return answer
