from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from indian_tune.ledger import Ledger
from indian_tune.service.background import background
from indian_tune.study.registered_study import RegisteredStudy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.conftest import Ended


def test_a_study_of_given_sizes_is_planned_searched_and_resumed(
    tiny: dict[str, Any],
    write_study: Callable[[dict[str, Any]], Path],
    command: Callable[..., Ended],
) -> None:
    del tiny["problem"]["validation_fraction"]
    tiny["problem"]["sizes"] = {"train": 200, "validation": 100, "test": 50}
    tiny["protocol"] |= {"epochs": 1, "tune_epochs": 1}
    file = write_study(tiny)
    planned = " ".join(command("plan", file, "--no-timing").out.split())
    assert "200 training, 100 validation and 50 test images; batch size 128" in planned
    for phase in ("tune", "confirm"):
        assert command("search", file, "--engine", "inline", "--phase", phase).status == 0
    with Ledger.open("sqlite:///indian-tune.db") as ledger:
        study = RegisteredStudy.open(ledger, "tiny")
        ledger.unseal(study.id, by="test")
        about = background(study)
        tested = ledger.sealed_examples(study.id).values()
    assert ("Held out for validation", "100 examples, and 200 for training") in about.protocol
    assert {len(correct) for correct in tested} == {50}


def test_a_factory_s_examples_are_drawn_from_and_what_it_lacks_is_refused(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    examples = Path(__file__).parents[2] / "studies/examples"
    text = (examples / "table_mlp.toml").read_text(encoding="utf-8")
    for source in examples.iterdir():
        if source.suffix in (".py", ".csv"):
            (tmp_path / source.name).write_bytes(source.read_bytes())
    file = tmp_path / "wine.toml"
    for train, status in ((60, 0), (600, 2)):
        sizes = f"sizes = {{ train = {train}, validation = 30, test = 20 }}"
        file.write_text(text.replace("validation_fraction = 0.25", sizes), encoding="utf-8")
        ended = command("plan", file, "--no-timing", "--allow-import")
        assert ended.status == status
    assert "are together more than the 141 training examples of problem.factory" in ended.err
