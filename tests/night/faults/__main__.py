"""Disturb small searches at random, and check that all holds: a part of `make test-night`.

python -m tests.night.faults --minutes 20             # with a seed of its own, which is printed
python -m tests.night.faults --seed 5 --round 17      # one round again
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import postgres_programs, postgres_server
from tests.night.faults.rounds import Outcome, Plan, Round
from tests.relay import Relay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# What went wrong is kept here: plan, study, logs, database and checkpoints of the round.
FOLDER = Path(__file__).parents[3] / "build/faults"


def attack(
    seed: int, numbers: Iterable[int], folder: Path, *, postgresql: bool = True
) -> Iterator[Outcome]:
    """Run rounds of a seed; what they leave is removed unless something is wrong.

    Args:
        seed: of the attack.
        numbers: of the rounds.
        folder: for the rounds.
        postgresql: whether to use a server, too.
    """
    with contextlib.ExitStack() as stack:
        server = relay = None
        if postgresql:
            server = stack.enter_context(postgres_server())
            server.start()
            relay = Relay(server.new_database())
            stack.callback(relay.close)
        for number in numbers:
            place = folder / f"{seed}-{number}"
            shutil.rmtree(place, ignore_errors=True)
            plan = Plan.draw(seed, number, postgresql=postgresql)
            print(f"{plan} …", flush=True)
            outcome = Round(plan, place, server, relay).run()
            if outcome.violations and server is not None and plan.database == "postgresql":
                print("its database was on a private server, which ends with this program")
            if not outcome.violations:
                shutil.rmtree(place)
            yield outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="no round begins after these")
    parser.add_argument("--seed", type=int, help="of all rounds; drawn if left out")
    parser.add_argument("--round", type=int, help="only this one")
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    given = parser.parse_args()
    # The processes of the round under way are ended in any case.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    deadline = time.monotonic() + 60 * given.minutes

    def numbers() -> Iterator[int]:
        number = given.first
        while time.monotonic() < deadline:
            yield number
            number += 1

    chosen = numbers() if given.round is None else iter([given.round])
    start = time.monotonic()
    injected: Counter[str] = Counter()
    commands, rounds, broken = 0, 0, []
    postgresql = postgres_programs() is not None
    for outcome in attack(seed, chosen, FOLDER, postgresql=postgresql):
        rounds += 1
        commands += outcome.commands
        injected.update(outcome.injected)
        done = ", ".join(outcome.injected) or "no fault came in time"
        print(f"  {outcome.seconds:.0f} s, {outcome.commands} commands: {done}", flush=True)
        for violation in outcome.violations:
            print(f"  VIOLATION: {violation}", flush=True)
        if outcome.violations:
            broken.append(outcome.plan.number)
            again = f"--seed {seed} --round {outcome.plan.number}"
            print(f"  again: python -m tests.night.faults {again}", flush=True)
    print(", ".join(f"{kind} {count}" for kind, count in sorted(injected.items())))
    minutes = (time.monotonic() - start) / 60
    where = "" if postgresql else ", SQLite alone"
    print(
        f"seed {seed}: {rounds} rounds in {minutes:.0f} min{where}, {commands} commands, "
        f"{injected.total()} faults, {len(broken)} rounds with violations {broken or ''}".rstrip()
    )
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
