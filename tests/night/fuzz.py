"""Give commands broken study files, claims, tables and addresses: a part of `make test-night`.

python -m tests.night.fuzz --minutes 20               # with a seed of its own, which is printed
python -m tests.night.fuzz --seed 5 --case 17         # one case again

After every command it checks that nothing was written where the status is 2, that there is no
traceback, no control character and no password in the output, and that the command took neither
more than 5 seconds of a processor nor more than a gibibyte.
"""

from __future__ import annotations

import argparse
import gc
import io
import os
import random
import re
import resource
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
EXPORTED = ROOT / "tests/pins/exported"
PASSWORD = "s3cr3t-w0rd"
CPU_SECONDS = 5.0
# Of the clock, for what hangs.
SECONDS = 60
MEMORY_KIB = 1 << 20
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
NUMBER = re.compile(r"(?<![\w.\"'])-?\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w\"'])")

NUMBERS = (
    *("0", "-0", "-1", "1", "2", "3", "0.0", "-0.0", "0.5", "1.0", "1.5", "1e-300", "5e-324"),
    *("1e300", "-1e300", "1e308", "1e400", "-1e400", "inf", "-inf", "nan", "true", "false"),
    *("2147483647", "2147483648", "4294967296", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775809", "18446744073709551616", "1" + "0" * 30, "9" * 4299, "9" * 4400),
    *("0x7fffffffffffffff", "0b1", "1_000_000", "1000000000", "100000", "0.1e-10", "1e5", "1e9"),
)
VALUES = (
    *('""', '"\\u0000"', '"\\u001b[31mred"', '"a[/b]"', '"' + "x" * 400 + '"', "[]", "{}", "[[]]"),
    *("[1, 2]", "{ low = 1 }", "{ low = 0.1, high = 1e300, log = true }", "1979-05-27", '"nan"'),
    *('"é\\u202e"', "[" * 60 + "]" * 60, "[" * 2000 + "]" * 2000, '"../../etc"', '"=1+1"', '"1e9"'),
)
BYTES = (b"\x00", b"\xff", b"\x1b[2J", b"\xef\xbb\xbf", b"\r", b"\x85", "‮".encode(), b'"', b"\n")


@dataclass(frozen=True)
class Case:
    """A command, and the files that it finds in its folder."""

    words: tuple[str, ...]
    files: dict[str, bytes]


def mutate_toml(draw: random.Random, text: str) -> str:
    """Return a text of TOML or JSON with hostile numbers, values, keys or nesting."""
    for _ in range(draw.randint(1, 3)):
        kind = draw.randrange(10)
        numbers = list(NUMBER.finditer(text))
        lines = text.split("\n")
        line = draw.randrange(len(lines))
        if kind < 5 and numbers:
            match = draw.choice(numbers)
            text = text[: match.start()] + draw.choice(NUMBERS) + text[match.end() :]
            continue
        if kind < 7 and "=" in lines[line]:
            key = lines[line].partition("=")[0]
            lines[line] = f"{key}= {draw.choice(VALUES)}"
        elif kind == 7:
            key = draw.choice(
                ["a.b.c", '"\\u001b[1m"', "name.x", ".".join("k" * 300), '""', "search.x"]
            )
            lines.insert(line, f"{key} = {draw.choice(NUMBERS + VALUES)}")
        elif kind == 8:
            lines[line] = draw.choice(
                ["", lines[draw.randrange(len(lines))], "[[arms]]", "[search]"]
            )
        else:
            lines[line] = lines[line].replace("e", draw.choice(["", "é", "ee", "_", "["]), 1)
        text = "\n".join(lines)
    return text


def mutate_bytes(draw: random.Random, content: bytes) -> bytes:
    """Return a file with a few bytes put in, left out or doubled."""
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(len(content) + 1)
        kind = draw.randrange(3)
        if kind == 0:
            content = content[:place] + draw.choice(BYTES) + content[place:]
        elif kind == 1:
            content = content[:place] + content[place + draw.randint(1, 40) :]
        else:
            content = content[:place] + content[max(0, place - draw.randint(1, 200)) :]
    return content


def mutate_csv(draw: random.Random, text: str) -> str:
    """Return a table with hostile cells, columns or rows."""
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(draw.randint(1, 3)):
        row, column = draw.randrange(len(rows)), draw.randrange(len(rows[0]))
        kind = draw.randrange(8)
        value = draw.choice(
            (
                *NUMBERS,
                "",
                "null",
                "NA",
                "=1+1",
                '"a,b"',
                "\x1b[31m",
                "é",
                "a[/b]",
                "x" * 400,
                "\x00",
            )
        )
        if kind < 3:
            rows[row][column % len(rows[row])] = value
        elif kind == 3:
            rows[1:] = [[*one[:column], value, *one[column + 1 :]] for one in rows[1:]]
        elif kind == 4:
            rows = [one[:column] + one[column + 1 :] for one in rows]
        elif kind == 5:
            rows[0][column % len(rows[0])] = draw.choice(rows[0])
        elif kind == 6:
            rows = [rows[0], *draw.sample(rows[1:], draw.randrange(len(rows)))]
        else:
            rows.insert(row, list(rows[draw.randrange(len(rows))]))
        if not rows[0]:
            break
    return "\n".join(",".join(row) for row in rows) + "\n"


def study_case(draw: random.Random) -> Case:
    shipped = draw.choice(sorted((ROOT / "studies").glob("*.toml")))
    content = mutate_toml(draw, shipped.read_text(encoding="utf-8")).encode("utf-8", "replace")
    if draw.random() < 0.1:
        content = mutate_bytes(draw, content)
    words = draw.choice([("plan", "s.toml", "--no-timing"), ("search", "s.toml")])
    return Case(words, {"s.toml": content})


def claims_case(draw: random.Random) -> Case:
    claims = mutate_toml(draw, (EXPORTED / "claims.json").read_text(encoding="utf-8"))
    content = claims.encode("utf-8", "replace")
    if draw.random() < 0.3:
        content = mutate_bytes(draw, content)
    runs = (EXPORTED / "runs.csv").read_bytes()
    words: tuple[str, ...] = ("analyze", "--from", "runs.csv", "--claims", "claims.json")
    if draw.random() < 0.3:
        words = ("analyze", "--register", "claims.json")
    return Case(words, {"claims.json": content, "runs.csv": runs})


def table_case(draw: random.Random) -> Case:
    name = draw.choice(["runs.csv", "epochs.csv"])
    content = mutate_csv(draw, (EXPORTED / name).read_text(encoding="utf-8")).encode()
    if draw.random() < 0.2:
        content = mutate_bytes(draw, content)
    claims = (EXPORTED / "claims.json").read_bytes()
    words: tuple[str, ...] = ("analyze", "--from", name, "--claims", "claims.json")
    if draw.random() < 0.2:
        words = ("plan", "quickstart", "--no-timing", "--from", name)
    return Case(words, {name: content, "claims.json": claims})


def compare_case(draw: random.Random) -> Case:
    name = draw.choice(["runs.csv", "epochs.csv"])
    content = mutate_csv(draw, (EXPORTED / name).read_text(encoding="utf-8")).encode()
    if draw.random() < 0.3:
        content = mutate_bytes(draw, content)
    name = draw.choice([name, name, "runs.jsonl", "runs.json", "runs.parquet", "runs.txt", "a.db"])
    options = (
        *(("--delta", draw.choice(NUMBERS)), ("--alpha", draw.choice(NUMBERS)), ("--sequential",)),
        *(("--target", draw.choice(NUMBERS)), ("--map", "seed=trial"), ("--map", "arm=seed")),
        *(("--where", "phase=tune"), ("--missing", "failed"), ("--pairing", "none"), ("--json",)),
        *(("--markdown",), ("--better", "lower")),
    )
    arms = draw.choice([("--a", "indian", "--b", "sgd"), ("--all",), ("--baseline", "sgd")])
    words = ("compare", name, *arms, "--metric", draw.choice(["test_accuracy", "train_loss"]))
    chosen = (word for option in draw.sample(options, draw.randint(0, 2)) for word in option)
    return Case((*words, *chosen), {name: content})


def address_case(draw: random.Random) -> Case:
    pieces = (
        *("sqlite", "postgresql", "+psycopg", "+nonsense", ":", "/", "//", "///", "////", "@", "?"),
        *(
            "#",
            "%",
            "%00",
            "%zz",
            "127.0.0.1",
            "[::1]",
            "[",
            "]",
            ":1",
            ":99999",
            ":x",
            "db",
            ".db",
        ),
        *(
            "mode=ro",
            "uri=true",
            "&",
            "=",
            " ",
            "\x1b[31m",
            "é",
            "\udce9",
            "x" * 300,
            "..",
            "~",
            "file:",
        ),
        *(
            f"user:{PASSWORD}@",
            f":{PASSWORD}@",
            "mysql",
            "memory",
            ":memory:",
            "host=127.0.0.1",
            "a[/b]",
        ),
    )
    starts = ("", "sqlite:///", "postgresql+psycopg://127.0.0.1:1/", "postgresql://", "sqlite://")
    kept = f"postgresql+psycopg://u:{PASSWORD}@127.0.0.1:1/"
    start = draw.choice((*starts, kept))
    # The name of a file may be shown, whatever it is.
    secret = start.startswith("postgresql")
    usable = [piece for piece in pieces if secret or PASSWORD not in piece]
    address = start + "".join(draw.choices(usable, k=draw.randint(0, 5)))
    # Arguments of programs have no NUL.
    return Case((draw.choice(["status", "studies", "doctor"]), "--storage", address), {})


KINDS: dict[str, Callable[[random.Random], Case]] = {
    "study": study_case,
    "claims": claims_case,
    "table": table_case,
    "compare": compare_case,
    "address": address_case,
}


def draw_case(seed: int, number: int) -> tuple[str, Case]:
    """Return a case, which is a function of the seed and its number."""
    draw = random.Random(f"{seed}-{number}")
    kind = draw.choice(list(KINDS))
    return kind, KINDS[kind](draw)


def attempt(case: Case, folder: Path) -> list[str]:
    """Run a case in a process of its own; return what is wrong."""
    for name, content in case.files.items():
        (folder / name).write_bytes(content)
    before = sorted(folder.iterdir())
    out = folder.parent / "out"
    sys.stdout.flush()
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = os.fork()
    if child == 0:
        _command(case.words, folder, out)
    deadline = time.monotonic() + SECONDS
    wrong: list[str] = []
    while True:
        ended, raw, usage = os.wait4(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > deadline and not wrong:
            wrong.append(f"it did not end in {SECONDS} s")
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    status = os.waitstatus_to_exitcode(raw)
    said = out.read_text(encoding="utf-8", errors="replace")
    if status not in (0, 1, 2) and not wrong:
        wrong.append(f"status {status}")
    if "Traceback" in said:
        wrong.append("a traceback")
    if status and "Error: " not in said and "Usage: " not in said and not wrong:
        wrong.append("no error told")
    if status == 2 and sorted(folder.iterdir()) != before:
        wrong.append(f"written: {sorted({*folder.iterdir()} - {*before})}")
    if found := CONTROL.search(said):
        wrong.append(f"the control character {found[0]!r}")
    if PASSWORD in said:
        wrong.append("the password")
    if usage.ru_utime + usage.ru_stime > CPU_SECONDS:
        wrong.append(f"{usage.ru_utime + usage.ru_stime:.1f} s of a processor")
    if usage.ru_maxrss - base > MEMORY_KIB:
        wrong.append(f"{usage.ru_maxrss - base:,} KiB of memory")
    return [f"{one}\n{said[-3000:]}" for one in wrong]


def _command(words: tuple[str, ...], folder: Path, out: Path) -> None:
    """Be the command; does not return."""
    status = 70
    try:
        os.chdir(folder)
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8")
        sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), encoding="utf-8", write_through=True
        )
        # What is still valid must not be searched: that takes as long as it takes.
        if words[0] == "search":
            from indian_tune.study.file.spec import load_study

            load_study(Path(words[1]))
            words = ("plan", words[1], "--no-timing")
    except Exception:  # noqa: BLE001 - refused by the command just below
        pass
    try:
        from indian_tune.cli import main

        sys.argv = ["indian-tune", *words]
        main()
    except SystemExit as end:
        status = int(end.code or 0) if isinstance(end.code, int | None) else 1
    except BaseException:  # noqa: BLE001 - to be told as what it is
        import traceback

        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        os._exit(status)


def preload() -> None:
    """Import what the commands import, so that a case costs no start."""
    import pandas as pd
    import scipy.stats  # noqa: F401
    import torch

    import indian_tune.analysis
    import indian_tune.cli.analyze
    import indian_tune.cli.compare
    import indian_tune.cli.doctor
    import indian_tune.cli.plan
    import indian_tune.cli.search
    import indian_tune.cli.status  # noqa: F401

    torch.set_num_threads(1)
    pd.DataFrame()
    gc.freeze()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--case", type=int, default=None, help="only this one")
    given = parser.parse_args()
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    os.environ.pop("INDIAN_TUNE_STORAGE", None)
    preload()
    end = time.monotonic() + 60 * given.minutes
    count: Counter[str] = Counter()
    violations = number = 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
        while time.monotonic() < end:
            number = number if given.case is None else given.case
            kind, case = draw_case(seed, number)
            folder = Path(made) / "case"
            folder.mkdir()
            for wrong in attempt(case, folder):
                violations += 1
                print(f"{kind} {case.words}: {wrong}", flush=True)
                print(
                    f"again: python -m tests.night.fuzz --seed {seed} --case {number}", flush=True
                )
            shutil.rmtree(folder)
            count[kind] += 1
            if given.case is not None:
                break
            number += 1
    told = ", ".join(f"{count[kind]} of {kind}" for kind in KINDS)
    print(f"seed {seed}: {violations} violations in {count.total()} cases: {told}")
    sys.exit(violations > 0)


if __name__ == "__main__":
    main()
