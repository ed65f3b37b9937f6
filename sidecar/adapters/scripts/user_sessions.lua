-- A user's live sessions with their grants, those used latest first, and how many there are.
-- KEYS: index   ARGV: the sessions' key up to the digest, the grants' key up to the id, limit
-- The other keys are in the slot of the index.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local live = {}
local index = redis.call('HGETALL', KEYS[1])
for i = 1, #index, 2 do
  if index[i] ~= 'shared' then
    local session = redis.call('HMGET', ARGV[1] .. index[i], 's', 'seen')
    if session[1] == 'live' then
      live[#live + 1] = {digest = index[i], grant = index[i + 1], seen = tonumber(session[2]) or 0}
    end
  end
end
table.sort(live, function(a, b)
  if a.seen == b.seen then return a.digest < b.digest end
  return a.seen > b.seen
end)

local answer, sent = {now, #live}, {}
for i = 1, math.min(#live, tonumber(ARGV[3])) do
  local one = live[i]
  local session = redis.call('HMGET', ARGV[1] .. one.digest, 'f', 's', 'v', 'w', 'd', 'r', 'seen')
  local grant = not sent[one.grant]
    and redis.call('HMGET', ARGV[2] .. one.grant, 'f', 's', 'v', 'w', 'd', 'r')
  sent[one.grant] = true
  answer[#answer + 1] = {one.digest, one.grant, session, grant}
end
return answer
