-- Reply the server's time, as seconds and microseconds.
--
-- KEYS[1]  a key, by which a cluster knows which server to ask

return redis.call('TIME')
