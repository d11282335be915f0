-- Tell the server's time.
--
-- KEYS[1]  any key: it says which server of a cluster to ask
--
-- Replies {seconds, microseconds}.

return redis.call('TIME')
