"""Run the studies `isolate-digits` and `isolate-mnist` in sittings, and keep their record packed.

    python studies/results/isolate.py register    # both studies, before their first run
    python studies/results/isolate.py run         # all that is missing; --minutes 50 for a sitting
    python studies/results/isolate.py status
    python studies/results/isolate.py pack        # the database, beside the results
    python studies/results/isolate.py answer      # verdicts, tables and figures, in --folder

Every command first unpacks the packed database where there is none in --folder. A run that is
interrupted, by Ctrl-C, by the end of its minutes or by a crash, is continued by the same command,
and gives the same record to the last bit. `pack` may be called during a run.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from indian_tune.engines.session import open_session
from indian_tune.ledger import LedgerReader, storage_url
from indian_tune.study.file.spec import load_study

HERE = Path(__file__).parent
PACKED = HERE / "isolate"
STUDIES = ("isolate-digits", "isolate-mnist")
# Hosts of repositories dislike large files.
PART_BYTES = 19_000_000


def file_of(study: str) -> Path:
    """Return the file of a study."""
    return HERE.parent / f"{study}.toml"


def program(*arguments: str) -> list[str]:
    """Return a command of the package."""
    return [sys.executable, "-m", "indian_tune", *arguments]


def unpack(database: Path) -> None:
    """Restore the packed database where there is none."""
    parts = sorted(PACKED.glob("isolate.db.xz.*"))
    if database.exists() or not parts:
        return
    unfinished = database.with_suffix(".part")
    unfinished.write_bytes(lzma.decompress(b"".join(part.read_bytes() for part in parts)))
    unfinished.replace(database)


def pack(database: Path) -> None:
    """Write the database beside the results, compressed, in parts."""
    with tempfile.TemporaryDirectory(dir=database.parent) as folder:
        copy = Path(folder) / "copy.db"
        subprocess.run(program("export", "--db", str(copy), "--storage", str(database)), check=True)
        packed = lzma.compress(copy.read_bytes(), preset=9)
    for former in PACKED.glob("isolate.db.xz.*"):
        former.unlink()
    for n, start in enumerate(range(0, len(packed), PART_BYTES)):
        (PACKED / f"isolate.db.xz.{n}").write_bytes(packed[start : start + PART_BYTES])
    print(f"{len(packed) / 1e6:.1f} MB in {PACKED}")


def register(database: Path) -> None:
    """Register both studies and write down what was registered, without a run."""
    for study in STUDIES:
        with open_session(load_study(file_of(study)), storage_url(str(database)), None):
            pass
    rows = {}
    with LedgerReader.open(str(database)) as ledger:
        for study in STUDIES:
            record = ledger.study(study)
            rows[study] = {
                "file_digest": load_study(file_of(study)).digest,
                "registered_digest": record.spec_hash,
                "registered_at": record.created_at.isoformat(),
            }
    text = json.dumps(rows, indent=1)
    (PACKED / "registration.json").write_text(text + "\n", encoding="utf-8")
    print(text)


def run(database: Path, workers: int, minutes: float | None) -> int:
    """Run what is missing, for so many minutes at most; return 0 when nothing is left."""
    end = None if minutes is None else time.monotonic() + 60 * minutes
    for study in STUDIES:
        options = ("--storage", str(database), "--workers", str(workers), "--devices", "cpu")
        with subprocess.Popen(program("search", str(file_of(study)), *options)) as search:
            try:
                code = search.wait(None if end is None else max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                search.send_signal(signal.SIGINT)
                code = search.wait()
        if code:
            return code
    return 0


def shorten(runs: Path) -> None:
    """Leave of the runs that searched only their last epochs, and of all no seconds.

    The packed database has the rest. What `analyze` judges is still there.
    """
    frame = pd.read_parquet(runs)
    run = ["arm", "phase", "replicate", "trial", "seed"]
    last = frame["epoch"] == frame.groupby(run)["epoch"].transform("max")
    kept = frame[last | frame["phase"].isin(["half", "confirm"])].drop(columns="seconds")
    kept.to_parquet(runs, index=False, compression="zstd")


def answer(database: Path, folder: Path) -> int:
    """Judge each study and both together into a folder; compare them with the committed verdicts.

    Returns:
        1 if a verdict or a bound is another one.
    """
    storage = ("--storage", str(database))
    other = 0
    for study in STUDIES:
        out = folder / study
        subprocess.run(program("analyze", study, *storage, "--out", str(out)), check=True)
        shorten(out / "runs.parquet")
        with tempfile.TemporaryDirectory() as exported:
            to = ("--format", "csv", "--unseal", "--out", f"{exported}/{study}")
            subprocess.run(program("export", study, *storage, *to), check=True)
            # With it the runs can be judged without the database.
            shutil.copy(Path(exported) / study / "claims.json", out)
        found, committed = (
            bounds(json.loads((place / study / "verdict.json").read_text(encoding="utf-8")))
            for place in (folder, PACKED)
        )
        other += found != committed
        print(f"{study}: {'the same as' if found == committed else 'NOT the same as'} committed")
    joint = program("analyze", *sorted(STUDIES, reverse=True), "--combined", *storage, "--json")
    found = subprocess.run(joint, check=True, stdout=subprocess.PIPE, text=True).stdout
    (folder / "combined.json").write_text(found, encoding="utf-8")
    print(f"Written to {folder}")
    return int(other > 0)


def bounds(verdict: dict[str, Any]) -> list[Any]:
    """Return the label of a verdict, and estimate and bounds of every contrast of its findings."""
    return [
        verdict["label"],
        *(
            (made["name"], made["label"], made[key] and round(made[key][bound], 9))
            for finding in verdict["findings"]
            for made in finding["contrasts"]
            for key in ("test", "train", "gap")
            for bound in ("estimate", "low", "high")
        ),
    ]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=("register", "run", "status", "pack", "answer"))
    parser.add_argument("--folder", type=Path, default=Path("isolate-run"), help="of the database")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    database = (given.folder / "isolate.db").resolve()
    unpack(database)
    if given.command == "register":
        register(database)
    elif given.command == "run":
        sys.exit(run(database, given.workers, given.minutes))
    elif given.command == "pack":
        pack(database)
    elif given.command == "answer":
        results = given.folder / "results"
        if results.exists():
            sys.exit(f"{results} already exists: remove it, or name another folder with --folder")
        try:
            sys.exit(answer(database, results))
        except subprocess.CalledProcessError as error:
            # The command has printed what is wrong.
            sys.exit(error.returncode)
    else:
        for study in STUDIES:
            subprocess.run(program("status", study, "--storage", str(database)), check=False)


if __name__ == "__main__":
    main()
