"""The image, built for real from the Dockerfile and run: on a base made of Debian's packages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from indian_tune import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

# Gigabytes are fetched, unpacked and stored: minutes on two cores.
pytestmark = [pytest.mark.image, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[2]
NEEDED_BYTES = 25e9
# Debian's release with Python 3.11.
RELEASE = "bookworm"


class Builder:
    """Buildah with a storage of its own, of which nothing is left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "tmp").mkdir()
        self._options = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run"]
        # Without overlays every step copies the whole tree.
        self._driver = "overlay"
        if self._try("info").returncode != 0:
            self._driver = "vfs"

    def __call__(self, *arguments: object) -> str:
        done = self._try(*arguments)
        assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
        return done.stdout.strip()

    def clean(self) -> None:
        self._try("rm", "--all")
        # What a command that was ended left mounted; the innermost first.
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed(mounts):
            if mount.startswith(f"{self._folder}/"):
                subprocess.run(["umount", "--lazy", mount], check=False)

    def _try(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["buildah", *self._options, "--storage-driver", self._driver, *map(str, arguments)],
            env={**os.environ, "TMPDIR": f"{self._folder}/tmp"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )


def missing() -> str | None:
    """Return why no image can be built here, if none can."""
    for program in ("buildah", "debootstrap"):
        if shutil.which(program) is None:
            return f"{program} is missing: install the package {program}"
    return None


def forbidden() -> str | None:
    """Return what this machine does not permit or have, if it lacks something."""
    if os.geteuid() != 0:
        return "only root can make a root file system and change into it"
    if subprocess.run(["chroot", "/", "true"], capture_output=True, check=False).returncode:
        return "chroot is not permitted"
    if shutil.disk_usage(tempfile.gettempdir()).free < NEEDED_BYTES:
        return f"less than {NEEDED_BYTES / 1e9:.0f} GB are free in {tempfile.gettempdir()}"
    return None


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    if reason := missing():
        # Where the tests judge a change, nothing that can be installed may be left out.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    if reason := forbidden():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="image-", ignore_cleanup_errors=True) as folder:
        made = Builder(Path(folder))
        try:
            yield made
        finally:
            made.clean()


@pytest.fixture(scope="module")
def base(builder: Builder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of an image with Debian and its Python, and nothing else."""
    tree = tmp_path_factory.mktemp("base") / "root"
    try:
        done = subprocess.run(
            [
                *("debootstrap", "--variant=minbase", "--include=python3,python3-venv"),
                *(RELEASE, tree),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
        container = builder("from", "scratch")
        builder("add", "--quiet", container, tree, "/")
        builder("commit", "--quiet", "--rm", container, "localhost/base")
        yield "localhost/base"
    finally:
        shutil.rmtree(tree, ignore_errors=True)


@pytest.fixture(scope="module")
def image(builder: Builder, base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of the image that the Dockerfile makes."""
    settings, mounts = host_pip(tmp_path_factory.mktemp("pip") / "pip.conf")
    builder(
        *("bud", "--isolation", "chroot", "--format", "docker", "--layers=false"),
        *("--secret", f"id=pip,src={settings}"),
        *(f"--volume={path}:{path}:ro" for path in mounts),
        *("--build-arg", f"BASE_IMAGE={base}"),
        # A build has no access to a mirror of Debian here, and no GPU.
        *("--build-arg", "DEBIAN_PACKAGES="),
        *("--file", ROOT / "docker/Dockerfile", "--tag", "localhost/indian-tune", ROOT),
    )
    return "localhost/indian-tune"


def host_pip(file: Path) -> tuple[Path, list[str]]:
    """Write this machine's settings of pip, which say where packages are, and the paths in them."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    # Such as global.cert='/etc/ssl/certs/ca-certificates.crt'; the environment's begin with :env:.
    found = dict(re.findall(r"^[^.\n]*\.(\S+?)='(.*)'$", listed, re.MULTILINE))
    values = {key: value.replace("\\n", " ").split() for key, value in found.items()}
    lines = [f"{key} = " + "\n  ".join(value) for key, value in values.items()]
    file.write_text("\n".join(["[global]", *lines]) + "\n", encoding="utf-8")
    paths = set()
    for part in (part for value in values.values() for part in value):
        if part.startswith("file://"):
            # An index on a disk keeps its files beside it.
            paths.add(str(Path(part.removeprefix("file://")).parent))
        elif part.startswith("/"):
            paths.add(part)
    return file, sorted(path for path in paths if Path(path).exists())


@pytest.fixture
def container(builder: Builder, image: str) -> Iterator[str]:
    name = builder("from", image)
    yield name
    builder("rm", name)


def test_the_image_says_who_runs_it_and_whether_it_is_well(builder: Builder, image: str) -> None:
    told: Any = json.loads(builder("inspect", "--type", "image", image))
    config = told["Docker"]["config"]
    assert config["User"] == "1000:1000"
    assert config["WorkingDir"] == "/studies"
    assert config["Entrypoint"] == ["entrypoint.sh"]
    assert config["Healthcheck"]["Test"] == ["CMD", "indian-tune", "studies", "--json"]
    # Neither a secret of the build nor an address of the host's is kept.
    assert not re.search(r"pip\.conf|index|https?://", json.dumps(config))


def test_the_program_runs_in_the_image_as_nobody_of_importance(
    builder: Builder, container: str
) -> None:
    run = ("run", "--isolation", "chroot", container, "--")
    assert builder(*run, "indian-tune", "--version") == f"indian-tune {__version__}"
    assert builder(*run, "id", "-u") == "1000"
    # What the health check asks.
    studies: Any = json.loads(builder(*run, "indian-tune", "studies", "--json"))
    shipped = {path.stem for path in (ROOT / "studies").glob("*.toml")}
    assert {file["name"] for file in studies["files"]} == shipped
    writable = "touch /studies/new /data/new /artifacts/new && ! touch /opt/indian-tune/new"
    builder(*run, "sh", "-c", writable)
    # The pins hold, and the build left nothing lying about.
    torch = builder(
        *run, "python", "-c", "import importlib.metadata as m; print(m.version('torch'))"
    )
    assert f"torch=={torch.partition('+')[0]}" in (ROOT / "constraints.txt").read_text().split()
    assert builder(
        *run, "sh", "-c", "ls -A /tmp /source /wheel /etc/pip.conf 2>/dev/null || :"
    ) in (
        "",
        "/tmp:",
    )


def test_the_quickstart_runs_in_the_image(
    builder: Builder, container: str, short_quickstart: Path
) -> None:
    done = builder(
        *("run", "--isolation", "chroot", f"--volume={short_quickstart}:/studies/study.toml:ro"),
        *(container, "--", "entrypoint.sh", "indian-tune", "search", "study.toml", "--json"),
    )
    answer: Any = json.loads(done)
    assert answer["finished"]
    assert {arm["arm"] for arm in answer["arms"]} == {"indian", "sgd", "adagrad", "adam"}
