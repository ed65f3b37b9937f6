-- What became of a redeemed state, where its marker still stands.   KEYS: marker   ARGV: outcome
local time = redis.call('TIME')
if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'outcome', ARGV[1]) end
return {time[1] * 1000 + math.floor(time[2] / 1000)}
