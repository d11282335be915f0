"""A small site on flask-redis-session: run ``python examples/demo`` and open it twice.

Sign in with two browsers, or with one browser and a private window of it. Both are listed under
"Devices", and each can sign the other out. The panel on each page shows what the page and your
last change cost Redis, compared with saving the whole session. You need no server and no
SECRET_KEY: the demo starts a Valkey, and stops it at the end.
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
from flask_redis_session import SettingError, StoreUnavailable

HOST = "127.0.0.1"


def main() -> None:
    options = _options()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        try:
            _serve(options.port, options.redis_url)
        except StoreUnavailable:
            sys.exit("The Redis of --redis-url does not answer.")
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
        "--port",
        type=int,
        default=5000,
        help="if it is taken, the next free one is used (default: %(default)s)",
    )
    parser.add_argument(
        "--redis-url",
        default="embedded://",
        metavar="URL",
        help="redis://, rediss:// or unix:// (default: %(default)s starts a server)",
    )
    return parser.parse_args()


def _listen(first: int) -> socket.socket:
    """Return a socket that listens on this port or, if it is taken, on the next free one.

    :param first: the port; 0: any that is free.
    """
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
