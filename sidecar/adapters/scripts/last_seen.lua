-- When a live session of a grant was last used.
-- KEYS: index   ARGV: grant id, the sessions' key up to the digest
-- The sessions' keys are in the slot of the index.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last
local index = redis.call('HGETALL', KEYS[1])
for i = 1, #index, 2 do
  if index[i] ~= 'shared' and index[i + 1] == ARGV[1] then
    local session = redis.call('HMGET', ARGV[2] .. index[i], 's', 'seen')
    local seen = session[1] == 'live' and tonumber(session[2])
    if seen and (not last or seen > last) then last = seen end
  end
end
return last and {now, last} or {now}
