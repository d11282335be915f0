"""A small site on flask-redis-session: run ``python examples/demo`` and open it twice.

Sign in from two browsers (or one and a private window of it), see both under "Devices", end one
from the other. The meter on each page says what that page and your last change cost Redis, beside
what a store that saves the whole session would have moved. It needs no server and no SECRET_KEY:
a Valkey is started for it, and ends with it.
"""

from __future__ import annotations

import argparse
import errno
import logging
import signal
import socket
import sys
from contextlib import suppress

from redis.exceptions import RedisError
from werkzeug.serving import make_server

from app import create_app
from flask_redis_session import SettingError

HOST = "127.0.0.1"


def main() -> None:
    options = _options()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        try:
            _serve(options.port, options.redis_url)
        except (SettingError, RedisError) as error:
            sys.exit(str(error))
    print("Stopped.")


def _serve(port: int, redis_url: str) -> None:
    listener = _listen(port)
    port = listener.getsockname()[1]
    app = create_app(redis_url)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(HOST, port, app, threaded=True, fd=listener.fileno())
    print(f"\n  The demo is at  http://{HOST}:{port}\n  Ctrl-C stops it.\n", flush=True)
    server.serve_forever()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python examples/demo", description=__doc__)
    parser.add_argument(
        "--port", type=int, default=5000, help="the next free one is taken (default: %(default)s)"
    )
    parser.add_argument(
        "--redis-url",
        default="embedded://",
        metavar="URL",
        help="redis://, rediss:// or unix:// (default: %(default)s, a server of its own)",
    )
    return parser.parse_args()


def _listen(first: int) -> socket.socket:
    """A socket that listens on this port, or on the next one that is free; 0 is any."""
    for port in range(first, first + 100):
        if listener := _listen_on(port):
            return listener
    sys.exit(f"None of the ports {first} to {first + 99} is free.")


def _listen_on(port: int) -> socket.socket | None:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return None


if __name__ == "__main__":
    main()
