"""SESSION_KEEP in two processes: what one of them ended, the other reads for the bound at most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.figures import figure
from tests.support.keeping import KeepingSite
from tests.support.webapp import session

ROOT = Path(__file__).parents[2]
STALE = 1.0
SESSIONS = 60

pytestmark = pytest.mark.one_server("SESSION_KEEP is refused in a cluster")

#: Reads sessions in turn, in as many threads as it is told, and says when each read began and what
#: it found. Processes of one machine share the monotonic clock.
READER = """
import json, sys, threading, time
from tests.support.keeping import KeepingSite

site = KeepingSite(None, sys.argv[1])
cookies = json.loads(sys.stdin.readline())
found = []
stop = threading.Event()

def read(first):
    browsers = []
    for cookie in cookies:
        browsers.append(site.browser())
        browsers[-1].cookie = cookie
    while not stop.is_set():
        for number, browser in enumerate(browsers):
            begins = time.monotonic()
            found.append((number, begins, browser.read().get("a")))

threads = [threading.Thread(target=read, args=(n,)) for n in range(int(sys.argv[2]))]
for each in threads:
    each.start()
print("reads", flush=True)
sys.stdin.readline()
stop.set()
for each in threads:
    each.join()
print(json.dumps(found), flush=True)
"""


def history(server, threads, act):
    """Let one process read while this one acts; return the reads, and what was done when.

    :param act: does something to the session of a number, and returns what is read then.
    """
    site = KeepingSite(server)
    browsers = [site.browser() for _ in range(SESSIONS)]
    for browser in browsers:
        browser.sign_in(23, a=0)
    with subprocess.Popen(
        [sys.executable, "-c", READER, server.url, str(threads)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdin
        assert reader.stdout
        try:
            print(json.dumps([browser.cookie for browser in browsers]), file=reader.stdin)
            reader.stdin.flush()
            assert reader.stdout.readline() == "reads\n"
            time.sleep(0.5)
            done = []
            for number, browser in enumerate(browsers):
                act(site, number, browser)
                done.append(time.monotonic())
                time.sleep(0.02)
            time.sleep(STALE + 0.3)
            print(file=reader.stdin, flush=True)
            return json.loads(reader.stdout.readline()), done
        finally:
            reader.kill()


def end(site, number, browser):
    """End a session, in one of the ways in which that is done."""
    if number % 3 == 0:
        site.interface.revoke_sessions(23, only=browser.sid)
    elif number % 3 == 1:
        browser.visit(lambda: session.clear())
    else:
        # The reader goes on with the old cookie.
        browser.visit(lambda: session.regenerate())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("threads", [1, 4])
def test_ended(server, threads):
    """What was ended before T - bound is not read at T, nor is a cookie that was rotated away."""
    reads, ended = history(server, threads, end)
    late = [begins - ended[number] for number, begins, found in reads if found is not None]
    after = [seconds for seconds in late if seconds > 0]

    figure(
        f"SESSION_KEEP, two processes, {threads} threads, {server.name}",
        f"{len(after)} of {len(reads)} reads after the end, {max(after, default=0) * 1000:.0f} ms",
    )
    assert [] == [seconds for seconds in after if seconds > STALE]
    assert len(reads) > 10 * SESSIONS


@pytest.mark.timeout(60)
def test_written(server):
    """What was written before T - bound is read at T."""
    reads, written = history(server, 2, lambda _, number, browser: browser.set(a=number + 1))
    old = [
        begins - written[number]
        for number, begins, found in reads
        if found == 0 and begins > written[number]
    ]

    assert [] == [seconds for seconds in old if seconds > STALE]
    assert all(found in (0, number + 1) for number, _, found in reads)


def test_threads_of_one_process(server):
    """What a thread wrote, each read that begins then in the same process sees."""
    site = KeepingSite(server)
    browser = site.visitor(a=0)
    wrong: list[int] = []

    def work():
        own = browser.twin()
        for _ in range(60):
            value = own.visit(lambda: session.increment("a")).value
            wrong.extend(value for _ in range(3) if own.read()["a"] < value)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert [] == wrong
    assert 360 == browser.read()["a"]
