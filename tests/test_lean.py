"""Clients made from a URL, where many threads or a fork meet them."""

from __future__ import annotations

import os
import threading

from redis.connection import ConnectionPool

from flask_redis_session.connect import connect


def test_a_fork_hides_the_connections_before_it_from_all_threads(valkey):
    """A thread that finds the pool taken over by the child gets none of the parent's connections.

    Two processes on one connection would take each other's replies for their own.
    """
    pool = connect(valkey.url).connection_pool
    inherited = pool.get_connection()
    pool.release(inherited)
    reset, got = ConnectionPool.reset, []

    def resetting(pool):
        reset(pool)
        # At the first moment at which the pool says that it is this process's.
        thread = threading.Thread(target=lambda: got.append(pool.get_connection()))
        thread.start()
        thread.join(10)

    child = os.fork()
    if child == 0:
        ConnectionPool.reset = resetting
        pool.get_connection()
        os._exit(0 if got and inherited not in got else 1)
    _, status = os.waitpid(child, 0)

    assert 0 == status
