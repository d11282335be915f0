"""The recipes of docs/monitoring.md, with the real tools."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.one_server("each is a process of its own, with a URL"),
    pytest.mark.timeout(120),
]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "monitoring.md").read_text("utf-8")


def recipe(heading: str) -> list[str]:
    """Return the code below a heading of the page."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


#: An application whose page ``/refused`` writes into a session that has ended meanwhile.
APP = """
import sys
import redis
from flask import Flask, request, session
from flask_redis_session import RedisSessionInterface

URL = sys.argv[1]
app = Flask("shop")
app.config.update(SESSION_REDIS_URL=URL, SECRET_KEY="for the toolbar")
RedisSessionInterface().init_app(app)

@app.get("/set")
def set_it():
    session["a"] = "x" * 5000
    return "<html><body>set</body></html>"

@app.get("/refused")
def refused():
    session["b"] = session["a"]
    redis.Redis.from_url(URL).flushdb()
    return "refused"
"""


def run(folder: Path, program: str, url: str) -> str:
    """Run a program with the application, and return what it printed."""
    (folder / "shop.py").write_text(APP)
    (folder / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py", url],
        cwd=folder,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )

    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_prometheus(valkey, tmp_path):
    """Refused saves are a counter that Prometheus reads, and so are times and bytes."""
    pytest.importorskip("prometheus_client")
    metrics, mount = recipe("Prometheus")
    (tmp_path / "metrics.py").write_text(metrics)
    visit = "client = app.test_client(); client.get('/set'); client.get('/refused')\n"
    shown = run(
        tmp_path,
        f"from shop import app\n{mount}\n{visit}print(client.get('/metrics/').text)",
        valkey.url,
    )

    assert 'session_saves_refused_total{reason="gone"} 1.0' in shown
    assert 'session_requests_total{result="refused"} 1.0' in shown
    assert 'session_requests_total{result="written"} 1.0' in shown
    assert "session_redis_seconds_count 2.0" in shown
    assert 'session_received_bytes_bucket{le="4096.0"} 1.0' in shown
    assert 'session_received_bytes_bucket{le="16384.0"} 2.0' in shown


def test_alarms_name_what_there_is():
    """The alarms are about metrics that the recipe makes."""
    (metrics, _) = recipe("Prometheus")
    alarms = re.findall(r"session_\w+", PAGE.partition("```yaml")[2].partition("```")[0])

    assert alarms
    assert all(f'"{name}"' in metrics for name in alarms)


def test_opentelemetry(valkey, tmp_path):
    """The same as metrics of OpenTelemetry."""
    pytest.importorskip("opentelemetry.sdk")
    (metrics,) = recipe("OpenTelemetry metrics")
    (tmp_path / "metrics.py").write_text(metrics)
    shown = run(
        tmp_path,
        "from opentelemetry.metrics import set_meter_provider\n"
        "from opentelemetry.sdk.metrics import MeterProvider\n"
        "from opentelemetry.sdk.metrics.export import InMemoryMetricReader\n"
        "reader = InMemoryMetricReader()\n"
        "set_meter_provider(MeterProvider([reader]))\n"
        "import metrics\n"
        "from shop import app\n"
        "client = app.test_client(); client.get('/set'); client.get('/refused')\n"
        "print(reader.get_metrics_data().to_json())\n",
        valkey.url,
    )
    (scope,) = json.loads(shown)["resource_metrics"][0]["scope_metrics"]
    found = {
        metric["name"]: [(point["attributes"], point) for point in metric["data"]["data_points"]]
        for metric in scope["metrics"]
    }

    assert [({"reason": "gone"}, 1)] == [(a, p["value"]) for a, p in found["session.saves.refused"]]
    assert {"written", "refused"} == {a["result"] for a, _ in found["session.redis.duration"]}
    assert all(p["count"] == 1 for _, p in found["session.redis.received"])


def test_panel_of_the_debug_toolbar(valkey, tmp_path):
    """The toolbar shows the figures of the requests before."""
    pytest.importorskip("flask_debugtoolbar")
    panel, setting = recipe("A panel for Flask-DebugToolbar")
    (tmp_path / "panels.py").write_text(panel)
    shown = run(
        tmp_path,
        "import warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from flask_debugtoolbar import DebugToolbarExtension\n"
        "from shop import app\n"
        "app.debug = True\n"
        f"DebugToolbarExtension(app)\n{setting}\n"
        # The toolbar imports its panels in the first request.
        "client = app.test_client(); client.get('/set'); client.get('/set')\n"
        "print(client.get('/set').text)\n",
        valkey.url,
    )

    # The second one set the key to what it was.
    assert "SessionFigures(result=&#39;read&#39;, loaded=1, written=0, skipped=1" in shown
    assert "&#39;set_it&#39;" in shown
