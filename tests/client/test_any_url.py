"""Any text as ``SESSION_REDIS_URL``: a client, or a setting's error and nothing else."""

from __future__ import annotations

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from flask_redis_session.client.url import check_url, connect
from flask_redis_session.errors import SettingError
from flask_redis_session.settings import read_settings
from tests.support.effort import unhurried

# embedded:// makes directories, and is tested where those are looked after.
SCHEMES = ["redis", "rediss", "valkey", "unix", "redis+sentinel", "redis+cluster", "http", ""]
OPTIONS = [
    *("socket_timeout", "socket_connect_timeout", "socket_read_size", "socket_keepalive"),
    *("max_connections", "health_check_interval", "db", "protocol", "username", "password"),
    *("client_name", "ssl_ca_certs", "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version"),
    *("ssl_ciphers", "sentinel_username", "retry_on_timeout", "decode_responses", "timeout"),
]
DIGITS = ["0", "1", "-1", "65536", "9" * 20, "9" * 5000, "1e300", "nan", "inf", "٣", "1_0"]

texts = st.text(max_size=12) | st.sampled_from(
    [*DIGITS, "%", "%00", "%ff", "%zz", "[::1]", "[", "]:1", "@", ":", "a..b", "a" * 300, "\udcff"]
)
hosts = st.builds("{}:{}".format, texts, texts) | texts
options = st.builds("{}={}".format, st.sampled_from(OPTIONS), texts)
urls = st.text() | st.builds(
    "{}://{}{}{}/{}?{}".format,
    st.sampled_from(SCHEMES),
    st.just("") | st.builds("{}:{}@".format, texts, texts),
    hosts,
    st.just("") | st.builds(",{}".format, hosts),
    texts,
    st.lists(options, max_size=3).map("&".join),
)


def accepted(url: str) -> bool:
    """Tell whether a URL is accepted; nothing but a setting's error refuses it."""
    try:
        check_url(url)
    except SettingError:
        return False
    return True


def refused(config: dict[str, object]) -> bool:
    """Tell whether an application with these settings does not start: with that error alone."""
    try:
        read_settings(config, redis=None, prefix=None)
    except SettingError:
        return True
    return False


@unhurried
@given(urls.filter(lambda url: not url.strip().startswith("embedded")))
def test_any_text(url):
    """Any text is accepted or a SettingError, also if the time for replicas depends on it."""
    config = {"SESSION_REDIS_URL": url, "SESSION_REVOKE_WAIT": (1, 500)}

    if accepted(url):
        refused(config)


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:" + "9" * 5000,
        "redis://localhost/" + "9" * 5000,
        "redis://localhost?db=" + "9" * 5000,
        "redis://redis..internal:6379",
        "redis://.internal",
        "redis://" + "a" * 64 + ".internal",
        "redis+sentinel://good,bad..host/service",
        "redis+cluster://good,bad..host",
        "redis://localhost?socket_connect_timeout=1e300",
        "redis://localhost?socket_timeout=1e20",
        "redis://localhost?socket_read_size=" + "9" * 20,
        "rediss://localhost?ssl_ca_certs=/" + "a" * 5000,
        "rediss://localhost?ssl_ca_certs=a%00b",
        "redis://user:\udcff@localhost",
        "unix:///run/\ud800.sock",
        "redis://localhost?client_name=\udcff",
    ],
    ids=lambda url: url[:40].encode("ascii", "backslashreplace").decode(),
)
def test_no_client_could_use_it(url):
    """What a client would stumble over at each request is refused when the application starts."""
    assert not accepted(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1?socket_connect_timeout=2147483648&socket_timeout=2147483648",
        "redis://127.0.0.1:1?socket_read_size=1&max_connections=2147483648",
        "redis://127.0.0.1:00001",
        "redis://u%ff:p%00@127.0.0.1:1?client_name=%00",
        "unix:///a%00b",
        "unix:///" + "a" * 200,
    ],
)
def test_failure_of_an_odd_one(url):
    """What is accepted and odd fails as a server does that is not there."""
    with pytest.raises((redis.RedisError, OSError)):
        connect(url).execute_command("GET", "key")


@pytest.mark.parametrize(
    ("expected", "url"),
    [
        (False, "redis://localhost"),
        (False, "redis://user:[pass@localhost"),
        (False, "redis://[zz]:1"),
        (True, "redis://user:[pass@localhost?socket_timeout=2"),
        (True, "redis://localhost?socket_timeout=1&socket_timeout=2"),
        (True, "redis://localhost?socket%5Ftimeout=%32"),
        (False, "redis://localhost?socket_timeout=2&socket_timeout=1"),
    ],
)
def test_wait_is_held_against_the_url(expected, url):
    """The time for replicas is compared with the time that the client of the URL really has."""
    assert expected != refused({"SESSION_REDIS_URL": url, "SESSION_REVOKE_WAIT": (1, 1500)})
