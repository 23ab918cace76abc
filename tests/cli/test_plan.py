"""`indian-tune plan`: what a study will cost and can show, before anything runs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from indian_tune.planning.timing import Speed
from tests.searches import Setting, searched_frame, searches

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Ended


def test_a_plan_fits_into_80_columns_and_writes_nothing(
    command: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = command("plan", "factorial", "--no-timing")
    assert ended.status == 0
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "indian-default-off-tuned" in ended.out
    assert "435 runs, 35,000 epochs, 49,245,000 steps" in ended.out
    assert list(Path().iterdir()) == []


def test_a_plan_says_which_batches_it_plans_with(
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    command: Callable[..., Ended],
) -> None:
    for n, said in (
        (0, "images; batch size 128, or as searched"),
        (1, "images; batch size searched"),
    ):
        tiny["arms"][n]["space"] = {"batch_size": {"choices": [32, 64]}}
        planned = command("plan", write_study(tiny), "--no-timing").out
        assert said in " ".join(planned.split())


def test_programs_get_counts_shares_power_hypotheses_and_warnings(
    command: Callable[..., Ended],
) -> None:
    told = json.loads(command("plan", "quickstart", "--no-timing", "--json").out)
    assert told["total"] == {"runs": 100, "epochs": 960, "steps": 960 * 34}
    assert [(part["phase"], part["arm"], part["runs"]) for part in told["work"]][3::4] == [
        ("tune", "adam", 12),
        ("final", "adam", 8),
        ("confirm", "adam", 5),
    ]
    assert told["cost"] == {"timed": False, "reason": "--no-timing"}
    assert told["memory"] is None
    assert told["unstable"]["curvatures"] == [1, 10, 100]
    assert told["unstable"]["arms"]["adam"] is None
    assert told["unstable"]["arms"]["sgd"][0] == 0
    assert [each["hypothesis"] for each in told["hypotheses"] if each["testable"]] == ["H1"]
    assert "H2 cannot be tested" not in "\n".join(told["warnings"])


def test_a_plan_says_what_it_assumes_and_what_a_verdict_needs(
    command: Callable[..., Ended],
) -> None:
    said = " ".join(command("plan", "isolate", "--no-timing").out.split())
    assert "The SD between searches, 1 point, is not measured, but the default of --sd" in said
    assert "at least 5 searches (here: 10)" in said
    assert "5 searches are the least that can decide; 10 are more likely to" in said
    assert "2δ = 1 point better" in said
    assert "(claims.half_budget, here: true)" in said
    given = command("plan", "isolate", "--no-timing", "--sd", "0.02").out
    assert "2 points, is not measured, but given with --sd" in " ".join(given.split())
    # Of a study without a claim nothing of this is asked.
    plain = command("plan", "quickstart", "--no-timing").out
    assert not {"Gates", "Hypotheses", "--sd"} & set(plain.split())


def test_a_search_warns_before_a_study_is_registered_that_can_get_no_verdict(
    command: Callable[..., Ended],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    search: Callable[..., tuple[int, str, str]],
) -> None:
    rate = {"gamma0": {"low": 0.01, "high": 1.0, "log": True}, "weight_decay": 0.01}
    tiny["arms"].append(
        {"name": "rate", "optimizer": "indian", "space": {"alpha": 0.5, "beta": 0.1, **rate}}
    )
    tiny["protocol"] = {"epochs": 1, "confirm_seeds": 2}
    tiny["search"]["trials"] = 1
    planned = json.loads(command("plan", write_study(tiny), "--no-timing", "--json").out)
    status, _, err = search(tiny, "--phase", "tune")
    said = [line.removeprefix("Warning: ") for line in err.splitlines() if "Warning: " in line]
    assert (status, said[:-1]) == (0, [text for text in planned["warnings"] if text in said])
    assert "'indian' and 'rate' differ in weight_decay: the gate “settings”" in said[2]
    assert said[3].startswith("search.replicates = 1: the gate “searches” would not pass")
    assert "5 are the least that can decide, 10 are more likely to" in said[3]
    assert said[4].startswith("claims.half_budget = false: the gate “budget” would not pass")
    assert "`indian-tune plan STUDY`, or" in said[5]
    assert err.index("Warning: ") < err.index("tiny: nin-small on digits")
    # What only concerns the time is not said; nor is anything of a study that is registered.
    assert len(said) == 6 < len(planned["warnings"])
    assert "Warning: " not in search(tiny, "--phase", "tune")[2]


def test_units_needed_are_those_of_the_noncentral_t(command: Callable[..., Ended]) -> None:
    arguments = ("plan", "regularization", "--no-timing", "--sd", "0.008", "--json")
    found = json.loads(command(*arguments).out)["power"]["contrasts"]["any two arms"]

    def power(effect: float, n: int) -> float:
        return float(stats.nct.sf(stats.t.ppf(0.95, n - 1), n - 1, effect * math.sqrt(n)))

    needed = found["needed"]
    assert power(0.005 / 0.008, needed) >= 0.95 > power(0.005 / 0.008, needed - 1)
    assert found["n"] == 5
    assert power(found["detectable"] / 0.008, 5) == pytest.approx(0.8, abs=1e-4)
    said = " ".join(command(*arguments[:-1]).out.split())
    share = 100 * found["detectable"]
    told = (
        "With 5 searches the smallest effect found in one contrast alone with 80 % probability is"
    )
    assert f"{told} {share:.2f}" in said


def test_a_pilot_with_one_search_says_what_is_missing(
    finished: tuple[Path, subprocess.CompletedProcess[str]], command: Callable[..., Ended]
) -> None:
    database, _ = finished
    options = ("--pilot", "tiny", "--storage", database, "--no-timing")
    told = json.loads(command("plan", "quickstart", *options, "--json").out)
    assert told["power"] == {"assumed": False, "pilot": "tiny", "contrasts": {}}
    assert "--pilot tiny: One search of every arm does not show how" in told["warnings"][-1]


def test_a_pilot_of_several_searches_gives_the_cheapest_searches_trials_and_seeds(
    command: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(replicates=5, trials=8, seeds=2)
    frame = searched_frame(searches(setting, np.random.default_rng(1)), epochs=2)
    runs = tmp_path / "runs.parquet"
    frame[frame["arm"].isin(["full", "sgd"])].to_parquet(runs)
    options = ("plan", "quickstart", "--no-timing", "--from", runs)
    told = json.loads(command(*options, "--json").out)
    assert told["allocations"]["unit"] == "seconds"
    rows = told["allocations"]["cheapest_first"]
    assert {(row["goal"], row["trials"]) for row in rows} == {
        (goal, trials) for goal in ("SUPPORTED", "REFUTED") for trials in (4, 8)
    }
    assert {row["limit"] for row in rows} == {"full - sgd"}
    monkeypatch.setenv("COLUMNS", "80")
    ended = command(*options)
    assert max(map(len, ended.out.splitlines())) <= 80
    assert "Searches, trials and seeds for δ, the cheapest first" in ended.out
    (found,) = told["power"]["contrasts"].values()
    (row,) = [line.split() for line in ended.out.splitlines() if line.strip().startswith("full -")]
    assert row[3:] == [
        f"{100 * found['planned']:.2f}",
        str(found["needed"]),
        str(found["needed_to_refute"]),
        f"{100 * found['detectable']:.2f}",
    ]
    assert (
        "SD is the 80 % upper bound of the standard deviation between the 5 searches" in ended.out
    )
    assert "From 5 searches of 8 trials in pilot" in ended.out
    one = tmp_path / "one.parquet"
    frame[(frame["replicate"] == 0) & frame["arm"].isin(["full", "sgd"])].to_parquet(one)
    assert "of the pilot, in validation accuracy (that of `analyze` is in test" in " ".join(
        ended.out.split()
    )
    told_of_one = " ".join(command(*options[:-1], one).out.split())
    assert "Set search.replicates" in told_of_one
    assert "does not tell (see below): give --sd" in told_of_one


def test_missing_data_leave_the_rest_of_the_plan(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    arguments = ("plan", "paper-figure2", "--data-dir", tmp_path / "none")
    ended = command(*arguments)
    assert ended.status == 0
    assert "Not timed: the data set is missing" in ended.out
    assert "data set 'cifar100' is not in" in ended.out
    assert "6,360 epochs" in ended.out
    told = json.loads(command(*arguments, "--json").out)
    assert told["cost"]["timed"] is False
    assert "indian-tune data fetch cifar100" in told["cost"]["reason"]
    assert told["warnings"][0] == told["cost"]["reason"]
    # Counted without a single image: weights, gradients and activations of the published network.
    assert told["memory"]["run_bytes"] > 3 * 994_456 * 4
    assert told["memory"]["process_bytes"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sd", "0"), "--sd = 0.0 must be above 0 and below 1"),
        (("--sd", "1.5"), "0.01 is one percentage point"),
        (("--sd", "0.01", "--pilot", "tiny"), "give one of them"),
        (("--assume-gpu", "h200x"), "--assume-gpu = 'h200x' is not known"),
        (("--workers", "0"), "--workers = 0 must be at least 1"),
        (("--pilot", "tiny", "--storage", "sqlite:///none.db"), "none.db"),
    ],
)
def test_what_cannot_be_is_refused(
    command: Callable[..., Ended], options: tuple[str, ...], message: str
) -> None:
    ended = command("plan", "quickstart", "--no-timing", *options)
    assert (ended.status, ended.out) == (2, "")
    assert message in ended.err
    assert list(Path().iterdir()) == []


def test_a_pilot_without_validation_accuracy_is_refused(
    command: Callable[..., Ended],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    storage: str,
) -> None:
    tiny["protocol"] |= {"mode": "paper", "confirm_seeds": 2}
    tiny["search"]["trials"] = 1
    file = write_study(tiny)
    assert command("search", file, "--storage", storage, "--engine", "inline").status == 0
    ended = command("plan", file, "--no-timing", "--pilot", "tiny", "--storage", storage)
    assert ended.status == 2
    assert "give a study with mode = 'honest'" in ended.err


def test_a_plan_without_timing_loads_neither_torch_nor_matplotlib(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from indian_tune.cli import app\n"
        "app(['plan', 'quickstart', '--no-timing'], standalone_mode=False)\n"
        "found = {'torch', 'ray', 'matplotlib'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_gpu_that_is_not_here_is_estimated_and_called_an_estimate(
    command: Callable[..., Ended],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = write_study(tiny)
    monkeypatch.setenv("COLUMNS", "80")
    told = json.loads(command("plan", file, "--assume-gpu", "H100", "--json").out)
    found = told["assumed_gpu"]
    assert (found["gpu"], found["measured"], found["precision"]) == ("H100", False, "float32")
    assert told["cost"] == {"timed": False, "reason": "--assume-gpu H100"}
    assert [arm["arm"] for arm in found["arms"]] == ["indian", "sgd"]
    assert all(arm["epochs_per_hour"] > 0 for arm in found["arms"])
    ended = command("plan", file, "--assume-gpu", "H100")
    lines = ended.out.partition("Start it with")[0].splitlines()
    assert max(map(len, lines)) <= 80
    said = " ".join(ended.out.split())
    assert "Estimated, not measured: one H100 that packs runs" in said
    assert f"--lanes {found['lanes']}" in said
    assert "Timing a few steps" not in ended.err
    assert not any("data set" in sentence for sentence in told["warnings"])


def test_the_devices_are_named_in_their_order(
    command: Callable[..., Ended],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices = [f"cuda:{n}" for n in range(6)]
    timed: list[list[str]] = []

    def measure(_spec: object, kinds: list[Any], assigned: list[str], *_: object) -> list[Any]:
        timed.append(assigned)
        return [[Speed(1e-3, 1e-5, 3 << 20, 1 << 20) for _ in kinds] for _ in assigned]

    monkeypatch.setattr("indian_tune.service.planning.worker_devices", lambda *_: devices * 2)
    monkeypatch.setattr("indian_tune.planning.cost.measure_together", measure)
    ended = command("plan", write_study(tiny))
    assert timed == [devices * 2]
    assert f"with 12 workers on {', '.join(devices)} …" in " ".join(ended.err.split())
    assert "3.15 MB held on the GPU for all lanes (measured)" in " ".join(ended.out.split())


@pytest.mark.slow
def test_bfloat16_is_timed_against_float32_in_turn(
    command: Callable[..., Ended],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
) -> None:
    tiny["problem"]["precision"] = "bfloat16"
    del tiny["arms"][1]
    file = write_study(tiny)
    told = json.loads(command("plan", file, "--devices", "cpu", "--workers", "1", "--json").out)
    ((speed,),) = told["cost"]["speeds"].values()
    assert speed["over_float32"] > 0
    slower = [text for text in told["warnings"] if "problem.precision = 'bfloat16'" in text]
    # Whether it is depends on the processor.
    assert len(slower) == (speed["over_float32"] > 1.05)
    if slower:
        assert f"takes {speed['over_float32']:.2f} times as long" in slower[0]


@pytest.mark.slow
def test_a_timed_plan_tells_wall_time_device_hours_and_memory(
    command: Callable[..., Ended],
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
) -> None:
    file = write_study(tiny)
    ended = command("plan", file, "--devices", "cpu", "--workers", "1", "--json")
    assert (ended.status, "Timing a few steps with 1 worker" in ended.err) == (0, True)
    told = json.loads(ended.out)
    cost = told["cost"]
    assert cost["timed"] is True
    assert cost["wall_seconds"] == pytest.approx(sum(part["seconds"] for part in told["work"]))
    assert cost["device_hours"] == pytest.approx(cost["wall_seconds"] / 3600)
    for part in told["work"]:
        assert part["seconds"] == pytest.approx(part["epochs"] * part["epoch_seconds"])
        (speed,) = cost["speeds"][part["arm"]]
        images = sum(told["images"].values())
        expected = part["steps_per_epoch"] * speed["step_seconds"] + images * speed["image_seconds"]
        assert part["epoch_seconds"] == pytest.approx(expected)
    assert told["memory"]["process_bytes"] > 50e6
    assert told["memory"]["device_bytes"] is None
    people = command("plan", file, "--devices", "cpu", "--workers", "1").out
    assert "with 1 worker on cpu" in people.replace("\n", " ")
