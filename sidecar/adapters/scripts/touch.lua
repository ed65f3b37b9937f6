-- Note that a live session was used.   KEYS: session   ARGV: seen at ms, idle end ms
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HGET', KEYS[1], 's') == 'live' then
  redis.call('HSET', KEYS[1], 'seen', ARGV[1])
  redis.call('PEXPIREAT', KEYS[1], ARGV[2])
end
return {now}
