-- Which keys a replica has, and that one of them is in use. What is older than it may be goes.
-- KEYS: reports   ARGV: replica, its report, the key in use, a report's life ms, all their life ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HLEN', KEYS[1]) > 1000 then redis.call('DEL', KEYS[1]) end
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local life = string.sub(fields[i], 1, 5) == 'used:' and ARGV[5] or ARGV[4]
  local at = tonumber(string.match(fields[i + 1], '^%d+'))
  if not at or at + life < now then redis.call('HDEL', KEYS[1], fields[i]) end
end
redis.call('HSET', KEYS[1], 'has:' .. ARGV[1], string.format('%d|', now) .. ARGV[2],
  'used:' .. ARGV[3], string.format('%d', now))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {now}
