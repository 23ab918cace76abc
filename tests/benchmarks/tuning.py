"""How good the winners of a search are: INDIAN in two sets of coordinates, its T1, and SGD.

Claim: at 32 trials, INDIAN searched in η, κ and memory is no worse than SGD by more than .25 points
of test error on fresh seeds, and better than INDIAN searched in α, β and γ0.

A search has a split, a tune seed and fresh seeds of its own, shared by all arms; its winners are
the best of its first 16, 32 and 64 trials by validation error on the tune seed. What counts is
their test error on five fresh seeds. Data are real and small, with a fifth of the training labels
at random: MNIST-5k at 14×14 with a perceptron of 96-96 (500 training, 1,000 validation, 3,000 test
images) and digits with one of 64-64 (400, 600, 797), 10 epochs of batches of 32.

Two ways of choosing are looked at beside, on the same trials: `winners first` replaces the last two
trials of an arm of INDIAN by the winners of T1 and of SGD (κ = 1), which for random search is what
trying them first would give; `finalists` trains the five best of 32 on three further tune seeds
and chooses by the mean over all four. `constraint` tells the sampler that a trial that did not
train is no solution, in place of its score.

    python -m tests.benchmarks.tuning --searches 10 --out tests/benchmarks/results

Every finished search is a line of `tuning.csv`'s parts in the output folder; the same command goes
on with those that are missing. Runs are trained in packs, which give the bits of single runs up to
rounding.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
import warnings
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import torch
from scipy import stats

from indian_tune.optim import get_family
from indian_tune.outcome import FAILED_SHARE
from indian_tune.problems import Split, SplitSizes, load_problem
from indian_tune.study.file.space import constants, parse_space
from indian_tune.study.optuna.samplers import SAMPLERS, Draw
from indian_tune.study.optuna.sampling import distributions
from indian_tune.study.optuna.unsaved_trial import unsaved_trial
from indian_tune.training import Packing, Run, Trainer
from tests.benchmarks.report import in_words, machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from indian_tune.problems import Problem
    from indian_tune.training import EpochRecord

Row = dict[str, Any]

BUDGETS = (16, 32, 64)
JUDGED = 32
EPOCHS = 10
BATCH = 32
FRESH = 5
FINALISTS, FURTHER = 5, 3
CHANCE = 0.9
# What is not looked at is measured on few examples.
GLANCE = 100
PROBLEMS: dict[str, dict[str, Any]] = {
    "mnist-5k": {"widths": (96, 96), "size": 14, "sizes": SplitSizes(500, 1000, 3000)},
    "digits": {"widths": (64, 64), "sizes": SplitSizes(400, 600, 797)},
}
LABEL_NOISE = 0.2
# name → family and what of its space is held.
ARMS: dict[str, tuple[str, dict[str, float]]] = {
    "SGD": ("sgd", {}),
    "T1": ("indian", {"alpha": 0.5, "beta": 0.1}),
    "T2 today": ("indian", {}),
    "T2 memory": ("indian-memory", {}),
}
CONSTRAINED = "T2 memory, constraint"
FIELDS = (
    *("problem", "search", "sampler", "arm", "first", "finalists", "budget"),
    *("validation", "test", "failed", "stuck", "eta", "kappa", "memory"),
)


@dataclass
class Trial:
    """A configuration of INDIAN (SGD is one with κ = 1), and what became of it."""

    config: dict[str, float]
    error: float
    trained: bool


@dataclass
class Search:
    """One search of one arm, a trial at a time."""

    arm: str
    sampler: str
    seed: int
    trials: list[Trial] = field(default_factory=list)
    shown: list[optuna.trial.FrozenTrial] = field(default_factory=list)

    def __post_init__(self) -> None:
        name, held = ARMS["T2 memory" if self.arm == CONSTRAINED else self.arm]
        self.family = get_family(name)
        self.space = parse_space({**self.family.default_space, **held}, self.arm)
        self.storage = optuna.storages.InMemoryStorage()
        self.storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], self.arm)

    def ask(self) -> dict[str, float]:
        """Return the next configuration, as one of `indian`."""
        index = len(self.shown)
        searched = distributions(self.space)
        # By the arm's place, so that both sets of constraints begin alike.
        sampler = SAMPLERS[self.sampler].make(Draw(self.space, self.seed, self.arm[:9], index))
        asked = unsaved_trial(
            *(self.storage, self.arm, searched, sampler, optuna.pruners.NopPruner(), self.shown),
            number=index,
        )
        self.shown.append(asked)
        return as_indian(self.family.name, {**constants(self.space), **asked.params})

    def tell(self, config: dict[str, float], error: float, share: float) -> None:
        """Take in a score, and the training error as a share of that at chance."""
        asked = self.shown[-1]
        told = optuna.trial.create_trial(
            value=error,
            params=asked.params,
            distributions=asked.distributions,
            system_attrs=asked.system_attrs,
            constraints={"trains": share - FAILED_SHARE} if self.arm == CONSTRAINED else None,
        )
        told.number, told._trial_id = asked.number, asked.number
        self.shown[-1] = told
        self.trials.append(Trial(config, error, share <= FAILED_SHARE))


def as_indian(family: str, config: Mapping[str, float]) -> dict[str, float]:
    """Return a configuration as one of `indian`, so that all arms train in one pack."""
    if family == "sgd":
        return {"alpha": 1.0, "beta": 1.0, "gamma0": config["gamma0"]}
    complete = get_family(family).complete(config)
    return {name: complete[name] for name in ("alpha", "beta", "gamma0")}


class Runs:
    """Trains configurations of INDIAN on one problem, several at a time and none twice.

    Args:
        problem: what is trained.
        lanes: how many runs are trained together.
        fresh: whether the test images are what counts; in a search the validation images are.
    """

    def __init__(self, problem: Problem, lanes: int, *, fresh: bool) -> None:
        assert problem.validation is not None
        if fresh:
            problem = replace(problem, validation=few(problem.validation))
        else:
            problem = replace(problem, test=few(problem.test))
        packing = Packing(lanes=lanes, convolutions="grouped", execution="stacked")
        self._trainer = Trainer(problem, packing=packing, train_eval_size=GLANCE)
        self._lanes = lanes
        self._ends: dict[str, EpochRecord] = {}

    def train(self, jobs: Sequence[tuple[Mapping[str, float], int]]) -> list[EpochRecord]:
        """Return the last record of each configuration and seed, in turn."""
        keys = [f"{seed} {sorted(config.items())}" for config, seed in jobs]
        new = {k: job for k, job in zip(keys, jobs, strict=True) if k not in self._ends}
        waiting = list(new.items())
        while waiting:
            pack, waiting = waiting[: self._lanes], waiting[self._lanes :]
            for key, (config, seed) in pack:
                self._trainer.add(Run(key, seed, EPOCHS, "indian", config, BATCH, dropout=0.0))
            while self._trainer.active:
                self._ends |= {record.key: record for record in self._trainer.advance()}
            for key, _ in pack:
                self._trainer.remove(key)
        return [self._ends[key] for key in keys]


def few(split: Split) -> Split:
    """Return a few examples, where measuring them all would take longer than training."""
    return Split(split.inputs[:GLANCE], split.labels[:GLANCE])


def errors(record: EpochRecord) -> tuple[float, float]:
    """Return the validation error, and the training error as a share of that at chance."""
    if record.diverged:
        return CHANCE, 1 / CHANCE
    return 1 - record.value("validation_accuracy"), (1 - record.value("train_accuracy")) / CHANCE


def best(trials: Iterable[Trial]) -> Trial:
    """Return the trial of the lowest validation error, of equal ones the first."""
    return min(trials, key=lambda trial: trial.error)


def search_all(problem: str, number: int, samplers: Sequence[str], trials: int) -> list[Row]:
    """Return a row for every arm, sampler, budget and way of choosing of one search."""
    made = load_problem(
        dataset=problem,
        model="mlp",
        split_seed=number,
        label_noise=LABEL_NOISE,
        **PROBLEMS[problem],
    )
    searches = [
        Search(arm, sampler, number)
        for sampler in samplers
        for arm in (*ARMS, *([CONSTRAINED] if SAMPLERS[sampler].learns else []))
        if not (arm == CONSTRAINED and sampler == "cmaes")
    ]
    runs = Runs(made, len(searches), fresh=False)
    for _ in range(trials):
        asked = [search.ask() for search in searches]
        records = runs.train([(config, number) for config in asked])
        for search, config, record in zip(searches, asked, records, strict=True):
            search.tell(config, *errors(record))
    chosen = choose(searches, runs, number, trials)
    seeds = [1000 + FRESH * number + n for n in range(FRESH)]
    configs = list({tuple(trial.config.items()): trial.config for _, trial in chosen}.values())
    fresh = Runs(made, 10, fresh=True).train([(c, seed) for c in configs for seed in seeds])
    found = {
        tuple(config.items()): fresh[n * FRESH : (n + 1) * FRESH]
        for n, config in enumerate(configs)
    }
    rows = []
    for labels, trial in chosen:
        ends = found[tuple(trial.config.items())]
        failed = sum(errors(end)[1] > FAILED_SHARE for end in ends)
        test = [1 - end.sealed["test_accuracy"] if not end.diverged else CHANCE for end in ends]
        alpha, beta, gamma0 = (trial.config[name] for name in ("alpha", "beta", "gamma0"))
        rows.append(
            {
                **{"problem": problem, "search": number, **labels},
                **{"validation": trial.error, "test": statistics.fmean(test), "failed": failed},
                **{"eta": gamma0 / alpha, "kappa": alpha * beta, "memory": 1 / (alpha * gamma0)},
            }
        )
    return rows


def choose(
    searches: Sequence[Search], runs: Runs, number: int, trials: int
) -> list[tuple[dict[str, Any], Trial]]:
    """Return the winners, and by what way each was chosen."""
    chosen = []
    arms = {(search.sampler, search.arm): search.trials for search in searches}
    for (sampler, arm), mine in arms.items():
        for budget in (b for b in BUDGETS if b <= trials):
            stuck = sum(not trial.trained for trial in mine[:budget]) / budget
            pools = {"": mine[:budget]}
            if arm.startswith("T2"):
                known = [best(arms[sampler, other][:budget]) for other in ("T1", "SGD")]
                pools["winners"] = [*known, *mine[: budget - len(known)]]
            for first, pool in pools.items():
                labels = {"sampler": sampler, "arm": arm, "first": first, "budget": budget}
                chosen.append(({**labels, "finalists": 0, "stuck": stuck}, best(pool)))
                if budget == JUDGED:
                    labels |= {"finalists": FINALISTS, "stuck": stuck}
                    chosen.append((labels, final(pool, runs, number)))
    return chosen


def final(pool: Sequence[Trial], runs: Runs, number: int) -> Trial:
    """Return the finalist of the lowest mean error over all tune seeds; none that failed once."""
    ranked = sorted(pool, key=lambda trial: trial.error)[:FINALISTS]
    seeds = [100 + FURTHER * number + n for n in range(FURTHER)]
    ends = iter(map(errors, runs.train([(t.config, seed) for t in ranked for seed in seeds])))
    again = [[next(ends) for _ in seeds] for _ in ranked]
    return min(
        zip(ranked, again, strict=True),
        key=lambda pair: (
            any(share > FAILED_SHARE for _, share in pair[1]),
            statistics.fmean([pair[0].error, *(error for error, _ in pair[1])]),
        ),
    )[0]


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the means over searches, and differences within them, as Markdown."""
    kinds: dict[tuple[str, ...], dict[int, dict[int, Mapping[str, Any]]]] = {}
    for row in rows:
        kind = tuple(str(row[key]) for key in ("problem", "sampler", "arm", "first", "finalists"))
        found = kinds.setdefault(kind, defaultdict(dict))
        found[int(row["budget"])][int(row["search"])] = row
    at = "/".join(map(str, BUDGETS))
    lines = [
        f"| problem | sampler | arm | first | finalists | test error %, {at} | minus SGD, {at} | "
        f"minus T1, {JUDGED} | minus T2 today, {JUDGED} | did not train % | searches |",
        "|" + "---|" * 11,
    ]
    for kind, mine in kinds.items():
        problem, sampler, arm, _, finalists = kind
        rivals = {
            rival: kinds.get((problem, sampler, rival, "", finalists), {})
            for rival in ("SGD", "T1", "T2 today")
        }
        errors = " / ".join(f"{mean(mine[b], 'test'):.2f}" for b in BUDGETS if b in mine)
        beside = " / ".join(difference(mine[b], rivals["SGD"].get(b, {})) for b in mine)
        judged = mine.get(JUDGED, {})
        others = (difference(judged, rivals[name].get(JUDGED, {})) for name in ("T1", "T2 today"))
        last = mine[max(mine)]
        lines.append(
            f"| {' | '.join(kind)} | {errors} | {beside if arm != 'SGD' else ''} | "
            f"{' | '.join(others)} | {mean(last, 'stuck'):.0f} | {len(last)} |"
        )
    return lines


def averages(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return each arm of INDIAN minus SGD and T1, averaged over problems and samplers."""
    searched = sorted({(row["problem"], row["sampler"]) for row in rows})
    ends: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for row in rows:
        if int(row["budget"]) == JUDGED and not row["first"]:
            place = (row["problem"], row["sampler"], row["arm"], str(row["finalists"]))
            ends[place].append(100 * float(row["test"]))
    lines = [
        f"Averages over {len(searched)} pairs of problem and sampler, at {JUDGED} trials:",
        "",
        "| arm | finalists | minus SGD: mean, worst | minus T1: mean, worst |",
        "|---|---|---|---|",
    ]
    for arm in ("T2 today", "T2 memory"):
        for finalists in ("0", str(FINALISTS)):
            cells = []
            for rival in ("SGD", "T1"):
                gaps = [
                    statistics.fmean(ends[*pair, arm, finalists])
                    - statistics.fmean(ends[*pair, rival, finalists])
                    for pair in searched
                    # A short run has no search of so many trials.
                    if ends[*pair, arm, finalists] and ends[*pair, rival, finalists]
                ]
                if not gaps:
                    return []
                cells.append(f"{statistics.fmean(gaps):+.2f}, {max(gaps):+.2f}")
            lines.append(f"| {arm} | {finalists} | {' | '.join(cells)} |")
    return [*lines, ""]


def mean(rows: Mapping[int, Mapping[str, Any]], key: str) -> float:
    """Return the mean over searches, in percent."""
    return 100 * statistics.fmean(float(row[key]) for row in rows.values())


def difference(
    mine: Mapping[int, Mapping[str, Any]], theirs: Mapping[int, Mapping[str, Any]]
) -> str:
    """Return the mean difference in test error over shared searches, with its t interval."""
    both = sorted(mine.keys() & theirs.keys())
    values = [100 * (float(mine[n]["test"]) - float(theirs[n]["test"])) for n in both]
    if len(values) < 2 or not any(values):
        return "–"
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.fmean(values):+.2f} ± {half:.2f}"


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of searches that are finished."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=["random", "tpe"])
    parser.add_argument("--searches", type=int, default=10)
    parser.add_argument("--trials", type=int, default=max(BUDGETS))
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    given.out.mkdir(parents=True, exist_ok=True)
    path: Path = given.out / "tuning.csv"
    rows = read(path)
    for number in range(1, given.searches + 1):
        for problem in given.problems:
            done = {row["sampler"] for row in rows if mine(row, problem, number)}
            missing = [sampler for sampler in given.samplers if sampler not in done]
            if not missing:
                continue
            print(f"{problem}, search {number}: {', '.join(missing)}", file=sys.stderr, flush=True)
            rows += search_all(problem, number, missing, given.trials)
            rows.sort(key=lambda row: (row["problem"], row["sampler"], int(row["search"])))
            write(path, rows)
    report(given.out / "tuning.md", rows)


def mine(row: Mapping[str, Any], problem: str, number: int) -> bool:
    return (row["problem"], int(row["search"])) == (problem, number)


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows; an interruption leaves the former file."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    part.replace(path)


def report(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [
        "# Winners of searches",
        "",
        (__doc__ or "").partition("\n")[2].partition("    python -m")[0].strip(),
        "",
        in_words(machine("torch", "optuna")) + ".",
        "",
        "Differences are in points of test error: means over searches, with 95 % t intervals. "
        "Below 0 the arm is better. Trials that did not train are a share of all.",
        "",
        *averages(rows),
        *table(rows),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
