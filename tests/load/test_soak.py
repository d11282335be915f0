"""Everything at once under gunicorn, while Redis comes and goes: short here, long in `make soak`.

``SOAK_SECONDS`` in the environment says how long the first two of the long runs are; each of the
others takes three tenths of that.
"""

from __future__ import annotations

import os

import pytest

from tests.load.people import LINES, STAYING
from tests.load.soak import PASSERS, PEOPLE, Soak, Way
from tests.support.figures import figure

LONG = float(os.environ.get("SOAK_SECONDS", "600"))
SHORT = 5.0

#: How many requests there may be at once.
AT_ONCE = PEOPLE * LINES + PASSERS
#: What a worker has open besides connections.
FEW = 24
#: By how many MB the memory of a worker may grow in the middle of a long run: it remembers up to
#: 10,000 touches, which are some 5 MB.
GROWTH = 8.0

WAYS = {
    "threads": Way(workers=2, at_once=8),
    "one worker": Way(workers=1, at_once=8, recycled=False),
    "gevent": Way(workers=2, at_once=None, options=("--worker-class", "gevent")),
    "preload": Way(
        workers=2, at_once=8, options=("--preload",), application="tests.load.soak_site:used_site()"
    ),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.timeout(120)
def test_short(name):
    """No error but the announced 503s, no lost write, and nothing that grows."""
    # The memory of a process that is a few seconds old still grows.
    check(Soak(WAYS[name], SHORT).run(), growth=25.0)


@pytest.mark.soak
@pytest.mark.parametrize("name", WAYS)
@pytest.mark.timeout(LONG + 300)
def test_long(name):
    """The same for minutes."""
    soak = Soak(WAYS[name], LONG if name in ("threads", "one worker") else 0.3 * LONG).run()

    report(name, soak)
    check(soak, growth=GROWTH)


def check(soak, *, growth):
    """Hold what was found against what is promised."""
    way, journal, readings = soak.way, soak.journal, soak.gauges.readings
    processes = [each for reading in readings for each in reading.processes.values()]
    at_once = way.at_once or AT_ONCE

    assert [] == journal.wrong
    assert [] == soak.unexplained

    # All of it happened.
    assert {"lose_scripts", "stop", "cut", "kill", "restart"} <= set(soak.troubles)
    assert journal.refused >= 2
    assert min(journal.found, journal.stayed_dead) > 0
    assert way.recycled == (soak.recycled > 0)
    assert ("--preload" in way.options) == (len(soak.gauges.masters) > 0)

    # A worker that ends may cut the connections that it holds.
    assert journal.cut <= soak.recycled * AT_ONCE

    # No worker sends a command over a connection that was made before the fork.
    assert [1] * len(soak.gauges.masters) == [len(n) for n in soak.gauges.masters.values()]

    # An outage is logged once by a worker that notices it, and so is its end.
    begins, over = soak.outages_logged["begins"], soak.outages_logged["over"]
    assert 0 < max(begins.values()) <= len(journal.outages)
    assert all(begins[pid] - 1 <= over[pid] <= begins[pid] for pid in begins | over)
    # Each other line is a request of a session that was just ended or rotated.
    assert soak.refused_saves <= journal.answers["race", 200]

    # Connections, files, keys and memory stay within bounds, and go back to them.
    assert max(len(each.sockets) for each in processes) <= at_once
    assert max(each.descriptors for each in processes) <= FEW + AT_ONCE + at_once
    assert all(each.descriptors <= FEW + at_once for each in soak.idle.processes.values())
    assert soak.idle.clients <= len(soak.idle.processes) * at_once
    assert all(reading.keys <= reading.most_keys for reading in readings)
    assert soak.resident(0.8, 1.0) - soak.resident(0.4, 0.6) <= growth

    # What is left is sessions of which nobody got the cookie, and they expire.
    assert len(soak.left) <= len(journal.staying) + len(journal.passing)
    assert [] == [life for life in soak.left if not 0 <= life <= STAYING * 1000]


def report(name, soak):
    """Keep the figures of a run."""
    journal, gauges = soak.journal, soak.gauges
    clients = [reading.clients for reading in gauges.readings]
    keys = [reading.keys for reading in gauges.readings]
    steps = [soak.resident(at / 5, at / 5 + 0.2) for at in range(5)]

    def told(text, value):
        figure(f"soak, {name}: {text}", value)

    told("seconds", f"{soak.seconds:.0f}")
    told("requests", f"{journal.requests:,}, of which {journal.refused:,} got 503")
    told("by kind", journal.kinds())
    told("connections of browsers that ended without an answer", journal.cut)
    told("acknowledged values looked for", f"{journal.found:,}")
    told("dead cookies tried", f"{journal.stayed_dead:,}")
    told("wrong", journal.wrong)
    told("troubles", dict(soak.troubles))
    told("outages, workers replaced", f"{len(journal.outages)}, {soak.recycled}")
    told("outages logged", {what: n.total() for what, n in soak.outages_logged.items()})
    told("refused saves logged", soak.refused_saves)
    told("MB of the largest worker, by fifths", ", ".join(f"{step:.1f}" for step in steps))
    told("connections, most and idle", f"{max(clients)}, {soak.idle.clients}")
    told("keys, most and at the end", f"{max(keys)}, {len(soak.left)}")
    most = max(each.descriptors for r in gauges.readings for each in r.processes.values())
    told("descriptors, most", most)
