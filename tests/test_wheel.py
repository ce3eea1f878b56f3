"""What users install: the contents of the sdist and the wheel, and the wheel in an environment of its own."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import semcorr
from semcorr.native import levels
from semcorr.weights import MODELS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE_DATA = {".safetensors", ".j2", ".typed", ".yaml", ".html", ".css", ".js", ".svg"}
NATIVE = "semcorr/native/core" + {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
SDIST_TOP_LEVEL = {
    "src",
    "hatch_build.py",
    "configs",
    "docs",
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "NOTICE",
    "pyproject.toml",
    ".gitignore",
    "PKG-INFO",
}
MAX_MEGABYTES = 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Return the sdist built from this checkout and the wheel built from that sdist."""
    pytest.importorskip("build", reason="build, of the extra dev, is not installed")
    pytest.importorskip("hatchling", reason="hatchling, of the extra dev, is not installed")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("no checkout to build from")
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def package_files() -> set[str]:
    """Return the files of ``src`` that Git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no Git checkout to compare with")
    return {path.removeprefix("src/") for path in listed.stdout.splitlines() if (ROOT / path).is_file()}


def test_wheel_holds_the_package_and_nothing_else(built, capsys):
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
        information = {PurePosixPath(name).name for name in archive.namelist() if ".dist-info/" in name}
    sources = {name for name in package_files() if name.endswith((".c", ".h"))}
    recipes = {f"semcorr/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")}
    assert set(names) == (package_files() - sources) | recipes | {NATIVE}
    assert {PurePosixPath(name).suffix for name in names} == {".py", *PACKAGE_DATA, PurePosixPath(NATIVE).suffix}
    assert not [name for name in names if "test" in PurePosixPath(name).name]
    assert information == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE", "NOTICE"}
    megabytes = wheel.stat().st_size / 1e6
    with capsys.disabled():
        print(f"\n{wheel.name}: {len(names)} files, {megabytes:.1f} MB")
    assert megabytes < MAX_MEGABYTES


def test_sdist_holds_what_the_wheel_is_built_from(built, capsys):
    sdist, _ = built
    with tarfile.open(sdist) as archive:
        names = [PurePosixPath(name) for name in archive.getnames()]
    inside = [name.relative_to(name.parts[0]) for name in names]
    assert {name.parts[0] for name in inside} == SDIST_TOP_LEVEL
    source = {str(name.relative_to("src")) for name in inside if name.parts[0] == "src"}
    assert source == package_files()
    megabytes = sdist.stat().st_size / 1e6
    with capsys.disabled():
        print(f"\n{sdist.name}: {len(names)} files, {megabytes:.1f} MB")
    assert megabytes < MAX_MEGABYTES


def test_wheel_works_with_no_checkout_near(built, tmp_path):
    """The wheel is installed beside today's dependencies, of which this checkout is not one."""
    _, wheel = built
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    def run(*command) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    run(python, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", wheel)
    site_packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    # a path file is read for its own line alone: the editable install in that folder stays unseen
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert Path(run(python, "-c", "import semcorr; print(semcorr.__file__)")).is_relative_to(site_packages)
    assert run(python, "-c", "from semcorr.native import levels; print(*levels())") == " ".join(levels())
    command = python.with_name("semcorr")
    assert run(command, "--version") == semcorr.__version__
    listed = run(command, "models")
    assert all(f"{name} " in listed and embedded.load().trained() in listed for name, embedded in MODELS.items())
