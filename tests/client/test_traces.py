"""Tracers see the commands of the fast client, and what they show of a session's content.

Each is installed for a whole process, so each has one of its own here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from redis.client import Pipeline

from flask_redis_session.client.fast import FastRedis
from flask_redis_session.client.pieces import in_one_piece
from flask_redis_session.client.url import connect

pytestmark = [
    pytest.mark.one_server("each is a process of its own, with a URL"),
    pytest.mark.timeout(120),
]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "monitoring.md").read_text("utf-8")

#: A write that no other is, a read, a sign-in: one command, one, and a pipeline.
VISIT = """
import json, sys
from flask import Flask, session

app = Flask("shop")

@app.get("/<what>")
def page(what):
    if what == "write":
        session["card"] = "content of the session"
    elif what == "sign-in":
        session["user_id"] = 23
    return str(session.get("card"))

def make():
    from flask_redis_session import RedisSessionInterface

    app.config["SESSION_REDIS_URL"] = sys.argv[1]
    RedisSessionInterface().init_app(app)

def visit():
    client = app.test_client()
    # The first round brings the scripts.
    for what in ("write", "read", "sign-in"):
        assert "content of the session" == client.get("/" + what).text

def show(value):
    print("SHOWN", json.dumps(value))
"""

OPENTELEMETRY = """
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

seen = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(seen))

def begin():
    RedisInstrumentor().instrument(tracer_provider=provider)

def end():
    RedisInstrumentor().uninstrument()

def spans():
    found = [[span.name, dict(span.attributes)] for span in seen.get_finished_spans()]
    seen.clear()
    return found
"""

SENTRY = """
import sentry_sdk
from sentry_sdk.integrations.redis import RedisIntegration

events = []

def begin(pii=False):
    sentry_sdk.init(
        "http://key@127.0.0.1:1/1",
        traces_sample_rate=1.0,
        send_default_pii=pii,
        default_integrations=False,
        integrations=[RedisIntegration()],
        before_send_transaction=lambda event, hint: events.append(event),
    )

def spans(pii=False):
    events.clear()
    with sentry_sdk.start_transaction(name="visit"):
        visit()
    return [[span["description"], span["data"]] for span in events[0]["spans"]]
"""

DDTRACE = """
from ddtrace import patch, tracer
from ddtrace.trace import TraceFilter

traced = []

class Keep(TraceFilter):
    def process_trace(self, trace):
        traced.extend(trace)

tracer.configure(trace_processors=[Keep()])

def begin():
    patch(redis=True)

def spans():
    found = [[span.resource, {k: v for k, v in span.get_tags().items()}] for span in traced]
    traced.clear()
    return found
"""


def shown(valkey, program, **environment):
    """Run a program after the visit's, and return what it shows."""
    quiet = {
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_TRACE_AGENT_URL": "http://[::1]:1",
    }
    done = subprocess.run(
        [sys.executable, "-c", VISIT + program, valkey.url],
        env={**os.environ, "PYTHONPATH": str(ROOT), **quiet, **environment},
        capture_output=True,
        text=True,
    )
    lines = re.findall("^SHOWN (.*)$", done.stdout, re.MULTILINE)

    assert lines, done.stderr
    return json.loads(lines[-1])


@pytest.mark.parametrize("order", ["begin(); make()", "make(); visit(); begin()"])
def test_opentelemetry(valkey, order):
    """OpenTelemetry sees each command, whenever it comes, and no content."""
    pytest.importorskip("opentelemetry.instrumentation.redis")
    found = shown(valkey, f"{OPENTELEMETRY}\n{order}; visit(); spans(); visit(); show(spans())")

    assert ["EVALSHA", "hgetall", "hgetall", "EVALSHA EVALSHA"] == [name for name, _ in found]
    assert "content" not in str(found)


def test_opentelemetry_goes(valkey):
    """Once it is gone, the fast way is taken again."""
    pytest.importorskip("opentelemetry.instrumentation.redis")
    found = shown(
        valkey,
        f"{OPENTELEMETRY}\nbegin(); make(); visit(); end(); spans(); visit()\n"
        "from flask_redis_session.client import fast; import redis\n"
        "show([spans(), redis.Redis.execute_command is fast._UNTRACED])",
    )

    assert [[], True] == found


@pytest.mark.parametrize("order", ["begin(); make()", "make(); visit(); begin()"])
def test_sentry(valkey, order):
    """sentry-sdk sees each command; without personal data it leaves the content out."""
    pytest.importorskip("sentry_sdk")
    found = shown(valkey, f"{SENTRY}\n{order}; visit(); show(spans())")
    names = [text.split()[0] for text, _ in found]

    assert ["EVALSHA", "hgetall", "hgetall", "redis.pipeline.execute"] == names
    assert "content" not in str(found)
    assert "[Filtered]" in str(found)


def test_sentry_with_personal_data(valkey):
    """With ``send_default_pii=True`` it shows the content, as the page says."""
    pytest.importorskip("sentry_sdk")
    found = shown(valkey, f"{SENTRY}\nbegin(pii=True); make(); visit(); show(spans())")

    # A session of so few keys has its content among the first ten arguments.
    assert any("content of the session" in text for text, _ in found)


@pytest.mark.parametrize("order", ["begin(); make()", "make(); visit(); begin()"])
@pytest.mark.parametrize("is_short", [False, True])
def test_ddtrace(valkey, order, is_short):
    """Datadog's ddtrace sees each command; told to as the page says, it leaves the content out."""
    pytest.importorskip("ddtrace")
    named = re.search(r"`(DD_REDIS_CMD_MAX_LENGTH)=(\d+)`", PAGE)
    assert named is not None
    environment = {named[1]: named[2]} if is_short else {}
    program = f"{DDTRACE}\n{order}; visit(); spans(); visit(); show(spans())"
    found = shown(valkey, program, **environment)

    assert ["EVALSHA", "hgetall", "hgetall", "EVALSHA\nEVALSHA"] == [name for name, _ in found]
    assert ("content of the session" not in str(found)) == is_short
    assert all("redis.raw_command" in tags for _, tags in found)


@pytest.mark.parametrize("on", ["class", "client"])
def test_whatever_wraps_it(valkey, monkeypatch, on):
    """Any function in the place of ``execute_command`` is called, and its client stays sound."""
    client = connect(valkey.url)
    seen = []
    target = redis.Redis if on == "class" else client
    original = target.execute_command

    def traced(*args, **options):
        seen.append(args)
        return original(*args, **options)

    monkeypatch.setattr(target, "execute_command", traced)
    client.hset("key", "field", "value")
    assert {b"field": b"value"} == client.execute_command("hgetall", "key")
    assert 2 == len(seen)
    assert isinstance(client, FastRedis)
    monkeypatch.undo()
    assert {b"field": b"value"} == client.execute_command("hgetall", "key", NEVER_DECODE=True)
    assert 2 == len(seen)


@pytest.mark.parametrize("on", ["class", "client"])
def test_whatever_wraps_pipelines(valkey, monkeypatch, on):
    """So is any function in the place of a pipeline's ``execute`` or the client's ``pipeline``."""
    client = connect(valkey.url)
    commands = [("HSET", "key", "field", "value"), ("hgetall", "key")]
    target, name = (Pipeline, "execute") if on == "class" else (client, "pipeline")
    original = getattr(target, name)
    seen = []

    def traced(*args, **options):
        seen.append(name)
        return original(*args, **options)

    assert not client.is_traced
    monkeypatch.setattr(target, name, traced)
    assert [1, {b"field": b"value"}] == in_one_piece(client, commands)
    assert [name] == seen
    monkeypatch.undo()
    assert [0, {b"field": b"value"}] == in_one_piece(client, commands)
    assert [name] == seen
