-- Which dead letters there are, without their bodies.
--
-- KEYS  1 dead letters
-- ARGV  1 after this id   2 up to this id   3 most of them
-- Answers ids, the oldest first.

local ids = {}
for i, letter in ipairs(redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])) do ids[i] = letter[1] end
return ids
