from __future__ import annotations

import copy
import sys
from dataclasses import replace
from math import inf, nan
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Subset, TensorDataset

from indian_tune.errors import InputError
from indian_tune.imports import imports_allowed
from indian_tune.problems import (
    CounterDropout,
    Loop,
    Problem,
    Split,
    SplitSizes,
    get_task,
    make_problem,
    network_advice,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LABELS = torch.arange(40) % 3
FACTORY = "own_problem:make"


def build(*, seed: int, dropout: float) -> nn.Module:
    del seed, dropout
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def sound(**changes: Any) -> Problem:
    rows = torch.arange(80, dtype=torch.float32).view(40, 2)
    given: dict[str, Any] = {
        "dataset": "rows",
        "model": "net",
        "classes": 3,
        "train": Split(rows, LABELS),
        "test": Split(rows[:7], LABELS[:7]),
        "build_model": build,
    }
    return Problem(**given | changes)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Let a study's factory be a function, and make its problem."""

    def make(function: object, arguments: dict[str, Any] | None = None, **more: Any) -> Any:
        module = ModuleType("own_problem")
        module.make = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "own_problem", module)
        with imports_allowed([]):
            return make_problem(FACTORY, arguments or {}, **more)

    return make


def test_a_validation_part_is_carved_by_class_and_nothing_is_lost(
    made: Callable[..., Problem],
) -> None:
    problem = made(sound, validation_fraction=0.3, split_seed=1)
    assert problem.validation is not None
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (28, 12, 7)
    assert problem.validation.labels.bincount().tolist() == [4, 4, 4]
    rows = torch.cat([problem.train.inputs, problem.validation.inputs])
    assert sorted(rows[:, 0].tolist()) == list(range(0, 80, 2))
    again = made(sound, validation_fraction=0.3, split_seed=1)
    assert again.validation is not None
    assert torch.equal(again.validation.inputs, problem.validation.inputs)


def test_a_validation_part_of_its_own_is_kept_and_joined_where_all_is_trained_on(
    made: Callable[..., Problem],
) -> None:
    held = Split(torch.full((5, 2), -1.0), LABELS[:5])
    kept = made(lambda: sound(validation=held))
    assert kept.validation is held
    assert len(kept.train) == 40
    joined = made(lambda: sound(validation=held), validation_fraction=None)
    assert joined.validation is None
    assert torch.equal(joined.train.inputs[-5:], held.inputs)
    assert len(joined.train) == 45


def test_splits_of_given_sizes_are_drawn_from_what_the_factory_makes(
    made: Callable[..., Problem],
) -> None:
    problem = made(sound, sizes=SplitSizes(train=15, validation=6, test=3), split_seed=1)
    assert problem.validation is not None
    assert (len(problem.train), len(problem.validation), len(problem.test)) == (15, 6, 3)
    rows = torch.cat([problem.train.inputs, problem.validation.inputs])[:, 0].tolist()
    assert len(set(rows)) == 21
    with pytest.raises(InputError, match=rf"train = 41 is more than the 40 .* '{FACTORY}'"):
        made(sound, sizes=SplitSizes(train=41))
    held = Split(torch.full((5, 2), -1.0), LABELS[:5])
    with pytest.raises(InputError, match=rf"'{FACTORY}' returns a validation part, but .*sizes"):
        made(lambda: sound(validation=held), sizes=SplitSizes(train=5, validation=5))
    whole = made(
        lambda: sound(validation=held), validation_fraction=None, sizes=SplitSizes(train=45)
    )
    assert (len(whole.train), whole.validation, len(whole.test)) == (45, None, 7)


def test_arguments_are_passed_by_name(made: Callable[..., Problem]) -> None:
    def factory(path: str, classes: int = 3) -> Problem:
        return replace(sound(), dataset=path, classes=classes)

    assert made(factory, {"path": "a.csv"}).dataset == "a.csv"
    with pytest.raises(InputError, match="unexpected keyword argument 'pth'"):
        made(factory, {"pth": "a.csv"})


def test_what_the_factory_draws_is_the_same_in_every_process(
    made: Callable[..., Problem],
) -> None:
    def factory() -> Problem:
        return sound(train=Split(torch.randn(40, 2), LABELS))

    torch.rand(3)
    first = made(factory, validation_fraction=None)
    torch.rand(5)
    second = made(factory, validation_fraction=None)
    assert torch.equal(first.train.inputs, second.train.inputs)


NOT_A_TENSOR: Any = [0, 1, 2]
TEXTS: Any = ["cat", "dog", "cat"]
NUMPY: Any = np.zeros(3)


def rows(*shape: int) -> torch.Tensor:
    return torch.zeros(shape)


class Unseeded(nn.Linear):
    count = 0

    def __init__(self) -> None:
        super().__init__(2, 3)
        Unseeded.count += 1
        nn.init.constant_(self.weight, Unseeded.count)


class Net(nn.Linear):
    """A network whose class takes neither a seed nor a rate of dropout."""

    def __init__(self) -> None:
        super().__init__(2, 3)


class ImageFolder:
    def __getitem__(self, place: int) -> None: ...


def network(module: object) -> Problem:
    return sound(build_model=lambda **_: copy.deepcopy(module))


class Wrapped(nn.Linear):
    """Returns an object, as the models of some packages do."""

    def forward(self, inputs: torch.Tensor) -> Any:
        return SimpleNamespace(logits=super().forward(inputs))


class InList(nn.Linear):
    """A layer that is no attribute, before the one that is."""

    def __init__(self, first: nn.Module | torch.Tensor) -> None:
        super().__init__(2, 3)
        self.hidden = [first]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        (first,) = self.hidden
        return super().forward(first(inputs) if isinstance(first, nn.Module) else inputs * first)


class Partial(Net):
    """Has layers that its forward pass leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.ModuleList(nn.Linear(1, 1) for _ in range(2))


class ByInputs(Net):
    """Needs a gradient by what it makes of its inputs."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs.detach().requires_grad_())


class Checkpointed(Net):
    """Its graph does not contain its parameters."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.detach().requires_grad_()
        return checkpoint(super().forward, inputs, use_reentrant=True)


class AlwaysDropped(Net):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.dropout(super().forward(inputs))


class Centred(Net):
    """Keeps what it measures in training mode, but in no buffer."""

    def __init__(self, at_first: float | None) -> None:
        super().__init__()
        self.centre: Any = at_first

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.centre = inputs.mean(0)
        return super().forward(inputs - self.centre)


class Unloadable(Centred):
    def load_state_dict(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError


class InPlace(Net):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return super().forward(inputs.add_(1))


class Stateful(Net):
    """Its state holds NaN, a sparse tensor, and what is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("unknown", torch.tensor([nan, 1.0]))
        self.register_buffer("graph", torch.eye(2).to_sparse())

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: object) -> None:
        pass


def infinite() -> nn.Module:
    net = Net()
    nn.init.constant_(net.bias, inf)
    return net


def always_alike() -> nn.Module:
    torch.manual_seed(0)
    return Net()


def masked(*dropouts: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), *dropouts)


def numbers(labels: torch.Tensor) -> Problem:
    """A regression whose network does not fit it."""
    part = Split(rows(40, 2), labels.float())
    return sound(task="regression", classes=1, train=part, test=part)


def images(*shape: int) -> Problem:
    """Images whose axes a network of convolutions does not take."""
    part = Split(rows(40, *shape), LABELS[:40])
    return sound(
        train=part,
        test=part,
        build_model=lambda **_: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 3)),
    )


def tokens(label: int) -> Problem:
    """Labels for two tokens each, and a network that has an output for all."""
    part = Split(rows(40, 2), torch.full((40, 2), label))
    return sound(task="tokens", train=part, test=part)


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: {"train": 1}, "must return an indian_tune.Problem or an indian_tune.Loop, got dict"),
    (lambda: 1 / 0, "calling it with {} failed with ZeroDivisionError"),
    (lambda: sound(classes=1), "classes must be a whole number of at least 2, got 1"),
    (lambda: sound(classes=1), "to predict numbers, give the problem task = 'regression'"),
    (
        lambda: sound(train=Split(rows(40, 2), torch.rand(40))),
        "of shape [N]; to predict numbers, give the problem task = 'regression'",
    ),
    (
        lambda: sound(train=Split(rows(40, 2), LABELS[:40].view(-1, 1).repeat(1, 16))),
        "for a label per token, give the problem task = 'tokens'",
    ),
    (
        lambda: sound(train=Split(rows(40, 2), nn.functional.one_hot(LABELS[:40], 3).float())),
        "these are one-hot: give labels.argmax(1)",
    ),
    (lambda: sound(train=Split(rows(40, 2), LABELS[:40].int())), "[N]; give labels.long()"),
    (
        lambda: sound(task="tokens", train=Split(rows(40, 2), LABELS.view(-1, 1).int())),
        "[N, T]; give labels.long()",
    ),
    (lambda: sound(classes="3"), "classes must be a whole number"),
    (lambda: sound(dataset=""), "its dataset must be a name"),
    (
        lambda: sound(classes=2),
        "train part has labels from 0 to 2: with classes = 2, labels must be 0 to 1",
    ),
    (lambda: sound(test=Split(rows(3, 2), LABELS[:4])), "test part has 3 inputs and 4 labels"),
    (lambda: sound(test=Split(rows(0, 2), LABELS[:0])), "test part is empty"),
    (lambda: sound(test=(rows(3, 2), LABELS[:3])), "is a tuple: write indian_tune.Split(inputs, "),
    (lambda: sound(test=ImageFolder()), "is an ImageFolder: wrap it as indian_tune.Split.from_dat"),
    (lambda: sound(test=3), "test part must be an indian_tune.Split, got int"),
    (lambda: sound(test=Split(rows(3), LABELS[:3])), "it must be at least [N, channels]"),
    (lambda: sound(test=Split(rows(3, 5), LABELS[:3])), "but the training part has"),
    (lambda: sound(test=Split(rows(3, 2).int(), LABELS[:3])), "inputs of torch.int32"),
    (lambda: sound(test=Split(rows(3, 2), LABELS[:3].float())), "must be int64 of shape [N]"),
    (
        lambda: sound(train=Split(rows(40, 2), LABELS[:, None])),
        "flatten them with labels.squeeze(1)",
    ),
    (lambda: Loop(3, "a", "b", 2), "its train must be a function"),  # type: ignore[arg-type]
    (lambda: sound(task="regresion"), "its task = 'regresion' is not known. Did you mean 'regre"),
    (lambda: sound(task=3), "its task must be a name (classification, regression, tokens) or an"),
    (lambda: sound(task="regression"), "for task 'regression' they must be floating point of sh"),
    (lambda: numbers(LABELS / 0), "its train part has labels that are not finite"),
    (
        lambda: numbers(torch.ones(40)),
        "its training labels are all equal: give labels that vary",
    ),
    (
        lambda: numbers(torch.rand(40, 2)),
        "labels of 2 numbers per example: give classes = 2, not 1",
    ),
    (lambda: numbers(torch.rand(40)), "must return numbers of shape [4, 1], got torch.float32 of"),
    (lambda: sound(task="tokens"), "for task 'tokens' they must be int64 of shape [N, T]; for one"),
    (
        lambda: tokens(3),
        "has labels from 3 to 3: with classes = 3, labels must be 0 to 2 or -100 (ignored)",
    ),
    (lambda: tokens(-100), "its train part has only labels that are ignored (-100)"),
    (lambda: tokens(1), "must return logits of shape [4, 2, 3], one per class, got torch.float32"),
    (
        lambda: Loop(print, "a", "b", 1, task="regression"),
        "with your own training loop needs chance = …",
    ),
    (
        lambda: Loop(print, "a", "b", 1, task="regression", chance=-1.0),
        "metric 'mse': chance = -1.0 must be above 0",
    ),
    (
        lambda: Loop(print, "a", "b", 2, task=get_task("classification").with_metric("f1")),
        "its metric 'f1' has no chance, so trials would be judged by error: give its value at",
    ),
    (lambda: Loop(print, "a", "b", 2, chance=nan), "its chance must be a finite number, got nan"),
    (lambda: Loop(print, "a", "b", 1), "classes must be a whole number of at least 2, got 1"),
    (lambda: sound(test=Split(rows(3, 2), NOT_A_TENSOR)), "has labels of type list"),
    (
        lambda: sound(test=Split(rows(3, 2), TEXTS)),
        "of type list: number the classes from 0, and give torch.tensor(numbers)",
    ),
    (
        lambda: sound(test=Split(rows(3, 2), NUMPY)),
        "has labels of type ndarray: use torch.from_numpy",
    ),
    (lambda: sound(test=Split(rows(3, 2) / 0, LABELS[:3])), "inputs that are not finite"),
    (lambda: sound(validation=3), "validation part must be"),
    (lambda: sound(mean=(1.0, 2.0, 3.0)), "its mean must be 1 or 2 finite numbers"),
    (lambda: sound(std=(1.0, 0.0)), "std and scale must be above 0"),
    (lambda: network(3), "build_model must return a torch.nn.Module, got int"),
    (lambda: network(nn.Flatten()), "has no parameters to train"),
    (lambda: network(nn.Linear(3, 3)), "giving its model 'net' inputs of shape [4, 2] failed"),
    (lambda: network(nn.Linear(2, 5)), "must return logits of shape [4, 3]"),
    (
        lambda: network(nn.Sequential(nn.Linear(2, 3), nn.Softmax(1))),
        "returns probabilities, but must return logits: remove its last softmax",
    ),
    (
        lambda: images(8, 8),
        "Its inputs of shape [N, 8, 8] have no axis of channels, which the network's Conv2d needs: "
        "give it [N, 1, 8, 8], by inputs.unsqueeze(1)",
    ),
    (
        lambda: images(8, 8, 1),
        "Its inputs of shape [N, 8, 8, 1] have their channels last, but the network's Conv2d takes "
        "them first: give it [N, 1, 8, 8], by inputs.movedim(-1, 1)",
    ),
    (
        lambda: sound(build_model=lambda seed: build),
        "called with seed= and dropout=, which it does not take (got an unexpected keyword "
        "argument 'dropout'): write `lambda seed, dropout: Net(…)`",
    ),
    (
        lambda: network(masked(CounterDropout(0.5, layer=1), CounterDropout(0.1, layer=1))),
        "its dropout layers '1' and '2' both have layer = 1, so their masks would be the same",
    ),
    (
        lambda: sound(build_model=nn.Linear(2, 3)),
        "its build_model is a network: give a function that builds one, `lambda seed, dropout: Ne",
    ),
    (
        lambda: network(nn.Linear(2, 3, device="meta")),
        "its model 'net' has parameters on meta: build it on the CPU",
    ),
    (
        lambda: network(nn.Sequential(nn.LazyLinear(3))),
        "has parameters without a shape (LazyLinear): call it once with an example inside build_m",
    ),
    (
        lambda: network(nn.Linear(2, 3).double()),
        "Its parameters are float64: build_model must return float32",
    ),
    (
        lambda: network(InList(nn.Linear(2, 2))),
        "computes with parameters that model.parameters() does not contain (one of shape [2",
    ),
    (
        lambda: sound(build_model=lambda **_: InList(torch.ones(2, requires_grad=True))),
        "(one of shape [2]), so they are not trained: keep layers in nn.ModuleList",
    ),
    (
        lambda: network(Wrapped(2, 3)),
        "of shape [4, 3], one per class, got SimpleNamespace: return its .logits",
    ),
    (
        lambda: sound(train=Split({"ids": rows(40, 2)}, LABELS)),  # type: ignore[arg-type]
        "inputs of type dict: it must be a torch.Tensor. Stack several inputs, such as tokens and",
    ),
    (lambda: sound(build_model=Net), "write `lambda seed, dropout: Net()`"),
    (lambda: sound(build_model=lambda **_: len(3)), "building its model 'net' failed with TypeErr"),  # type: ignore[arg-type]
    (lambda: sound(build_model=lambda **_: Unseeded()), "different weights when it is built twice"),
    (
        lambda: (lambda shared: sound(build_model=lambda **_: shared))(nn.Linear(2, 3)),
        "the same parameters at every call, so trials would continue each other's training",
    ),
]


@pytest.mark.parametrize(("factory", "message"), WRONG, ids=[text for _, text in WRONG])
def test_what_cannot_be_trained_is_named_with_the_key(
    made: Callable[..., Problem], factory: Callable[[], object], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        made(factory)
    assert str(refused.value).startswith(f"problem.factory = '{FACTORY}'")
    assert message in str(refused.value)


def test_a_mask_that_repeats_in_a_forward_pass_is_a_warning(
    made: Callable[..., Problem], caplog: pytest.LogCaptureFixture
) -> None:
    one, other = CounterDropout(0.5, layer=0), CounterDropout(0.5, layer=1)
    made(lambda: sound(build_model=lambda **_: masked(one, other)))
    assert caplog.messages == []
    made(lambda: sound(build_model=lambda **_: masked(one, one, other)))
    (message,) = caplog.messages
    assert "its dropout layer '1' is applied 2 times in one forward pass" in message


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Partial, "trained: spare.0.weight, spare.0.bias, spare.1.weight and 1 more"),
        (always_alike, "has the same weights for every seed, as a trained model has"),
        (infinite, "its outputs are not finite before training"),
        (AlwaysDropped, "gives other outputs for the same inputs in eval mode"),
        (lambda: Centred(0.0), "neither parameter nor buffer, which exported weights lack"),
        (lambda: Centred(None), "neither parameter nor buffer, which exported weights lack"),
        (lambda: Unloadable(0.0), None),
        (lambda: nn.Sequential(Net(), nn.BatchNorm1d(3), nn.Dropout()), None),
        (Stateful, None),
        (ByInputs, None),
        (InPlace, None),
        (Checkpointed, None),
    ],
)
def test_a_network_that_is_not_its_weights_alone_is_a_warning(
    module: Callable[[], nn.Module],
    message: str | None,
    made: Callable[..., Problem],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = torch.get_rng_state()
    made(lambda: sound(build_model=lambda *, seed, dropout: module()))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(caplog.messages) == (message is not None)
    assert message is None or message in caplog.text
    # A worker does not repeat it.
    caplog.clear()
    monkeypatch.setattr(network_advice, "parent_process", lambda: "the command")
    made(lambda: sound(build_model=lambda *, seed, dropout: module()))
    assert caplog.messages == []


def test_what_is_no_function_is_refused(made: Callable[..., Problem]) -> None:
    with pytest.raises(InputError, match="must be a function that returns a Problem, got 3"):
        made(3)


def test_tokens_are_not_normalised(made: Callable[..., Problem]) -> None:
    def factory(**changes: Any) -> Problem:
        tokens = torch.arange(80).view(40, 2)
        return sound(
            train=Split(tokens, LABELS),
            test=Split(tokens[:3], LABELS[:3]),
            build_model=lambda **_: nn.Sequential(
                nn.Embedding(80, 4), nn.Flatten(), nn.Linear(8, 3)
            ),
            **changes,
        )

    assert made(factory).train.inputs.dtype == torch.int64
    with pytest.raises(InputError, match="int64, which are not normalised"):
        made(lambda: factory(scale=80.0))


class Examples(torch.utils.data.Dataset[Any]):
    """Five images and their labels, or what is put in the place of one pair."""

    def __init__(self, **odd: Any) -> None:
        self.odd = {int(key[1:]): item for key, item in odd.items()}

    def __len__(self) -> int:
        return 5

    def __getitem__(self, n: int) -> Any:
        return self.odd.get(n, (torch.full((1, 2, 2), float(n)), n % 2))


class Files(Examples):
    """Of which one cannot be read, as torchvision's folders list them."""

    samples = [(f"images/{n}.png", 0) for n in range(5)]  # noqa: RUF012

    def __getitem__(self, n: int) -> Any:
        if n == 3:
            raise OSError("image file is truncated")
        return torch.zeros(2), 0


class RandomExamples(Examples):
    """With a transform that draws."""

    def __getitem__(self, n: int) -> Any:
        return torch.rand(1, 2, 2), n % 2


def test_a_data_set_of_torch_becomes_a_split() -> None:
    split = Split.from_dataset(Examples(e3=(np.full((1, 2, 2), 3.0), torch.tensor(1))))
    assert split.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert split.inputs.dtype == torch.float32
    assert split.labels.tolist() == [0, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (iter([]), "list_iterator has no length"),
        ([], "list is empty"),
        (Examples(e2=3), r"Examples\[2\] is an int: it must be a pair"),
        (Examples(e2=(torch.zeros(3), 1)), "the same shape"),
        (Examples(e2=(torch.zeros(1, 2, 2), 0.5)), "= 0.5 is not a whole number"),
        (Examples(e2=("text", 1)), r"Examples\[2\]\[0\] is a "),
        (Examples(e2={"ids": 1}), r"is a dict: it must be .* label\. Stack several inputs, such"),
        (Examples(e2=({"ids": 1}, 1)), r"is a dict, which numpy .* tensors\. Stack several inputs"),
        (Examples(e2=(torch.ones(2),) * 3), r"is a tuple: it must be .* label\. Stack several"),
        (RandomExamples(), r"Examples\[0\] is another input .* its transform is random"),
        (Files(), r"^Files\[3\] \(images/3.png\): reading it failed with OSError: image file is"),
        (Subset(Files(), [0, 3]), r"^Subset\[1\] \(images/3.png\): reading it failed"),
        (DataLoader(Examples()), "got a DataLoader: give the data set, not its loader"),
        (Examples(e2=(torch.zeros(1, 2, 2), torch.tensor([0]))), r"has shape \[1\]: give a number"),
    ],
    ids=range(14),
)
def test_a_data_set_that_is_no_split_is_refused(dataset: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Split.from_dataset(dataset)


def test_a_table_becomes_a_split(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [0.5, 1.5], "kind": [1, 0], "b": [2, 3]})
    frame.to_csv(tmp_path / "table.csv", index=False)
    for given in (frame, tmp_path / "table.csv"):
        split = Split.from_frame(given, "kind")
        assert split.inputs.tolist() == [[0.5, 2.0], [1.5, 3.0]]
        assert split.labels.tolist() == [1, 0]
    with pytest.raises(InputError, match=r"label = 'sort' is not a column\. Allowed: a, kind, b"):
        Split.from_frame(frame, "sort")
    with pytest.raises(InputError, match="label = 'a' must contain whole numbers"):
        Split.from_frame(frame, "a")
    with pytest.raises(InputError, match="column 'b' does not contain numbers"):
        Split.from_frame(frame.astype({"b": str}), "kind")
    with pytest.raises(InputError, match=r"nothing\.csv cannot be read"):
        Split.from_frame(tmp_path / "nothing.csv", "kind")


def test_the_columns_of_tables_are_matched_by_name() -> None:
    frame = pd.DataFrame({"a": [0.5, 1.5], "b": [2.0, 3.0], "kind": [1, 0]})
    train = Split.from_frame(frame, "kind")

    def problem(test: pd.DataFrame) -> Problem:
        return replace(sound(), train=train, test=Split.from_frame(test, "kind"))

    assert problem(frame[["kind", "b", "a"]]).test.inputs.tolist() == [[0.5, 2.0], [1.5, 3.0]]
    with pytest.raises(
        InputError, match=r"the test table .*: it lacks 'b' and it alone has 'c'; g"
    ):
        problem(frame.rename(columns={"b": "c"}))
    with pytest.raises(InputError, match="it alone has 'c'; give all parts the same columns"):
        problem(frame.assign(c=0.0))
    with pytest.raises(InputError, match="two columns 'a': give every column its own name"):
        Split.from_frame(frame.rename(columns={"b": "a"}), "kind")


def test_a_loader_is_read_in_batches_and_its_parts_are_drawn_unread(
    made: Callable[..., Problem],
) -> None:
    plain = sound()
    data = TensorDataset(plain.train.inputs, plain.train.labels)
    loader: Any = DataLoader(data, 8)

    def factory() -> Problem:
        return replace(plain, train=loader, test=loader)

    problem = made(factory, validation_fraction=0.3, split_seed=1)
    assert problem.train.streamed
    assert problem.validation is not None
    assert (len(problem.train), len(problem.validation), problem.nbytes) == (28, 12, 0)
    rows = torch.cat([problem.train.inputs, problem.validation.inputs])[:, 0].tolist()
    assert sorted(rows) == list(range(0, 80, 2))
    with pytest.raises(
        InputError, match=r"label_noise = 0.1 needs classes .* data read in batches"
    ):
        made(factory, label_noise=0.1)
    held = replace(plain, train=loader, validation=loader)
    assert len(made(lambda: held, validation_fraction=None).train) == 80


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TensorDataset(torch.zeros(9, 2), torch.full((9,), 5)), "has labels from 5 to 5"),
        ([("a", 1)] * 9, "cannot be read: StreamError: list gives inputs of type tuple"),
        ([{}] * 9, "cannot be read: StreamError: list gives batches of type dict"),
        (Files(), r"cannot be read: Files\[3\] \(images/3.png\): OSError: image file is truncated"),
    ],
)
def test_a_loader_that_cannot_be_trained_on_is_refused(
    made: Callable[..., Problem], data: Any, message: str
) -> None:
    loader: Any = DataLoader(data, 3)
    with pytest.raises(InputError, match=f"its train part {message}"):
        made(lambda: replace(sound(), train=loader))


def test_tables_and_data_sets_hold_the_labels_of_their_task(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": [0.5, 0.25, 0.125], "c": [3, 2, 1]})
    frame.to_csv(tmp_path / "table.csv", index=False)
    one = Split.from_frame(tmp_path / "table.csv", "c", "regression")
    assert (one.labels.dtype, one.labels.tolist()) == (torch.float32, [3.0, 2.0, 1.0])
    two = Split.from_frame(frame, ["b", "c"], "regression")
    assert (two.inputs.tolist(), list(two.labels.shape)) == ([[1.0], [2.0], [3.0]], [3, 2])
    with pytest.raises(InputError, match=r"must contain whole numbers .*give task = 'regression'"):
        Split.from_frame(frame, "b")
    with pytest.raises(InputError, match="no columns except labels"):
        Split.from_frame(frame, ["a", "b", "c"], "regression")
    numbers = Split.from_dataset([(torch.zeros(2), 1), (torch.ones(2), 2.5)], "regression")
    assert (numbers.labels.dtype, numbers.labels.tolist()) == (torch.float32, [1.0, 2.5])
    words = Split.from_dataset([(torch.tensor([0, 1]), torch.tensor([1, 2]))], "tokens")
    assert (words.labels.dtype, words.labels.tolist()) == (torch.int64, [[1, 2]])
    with pytest.raises(InputError, match=r"\[1\]\[1\] has the shape \[1\], but the first label"):
        Split.from_dataset([(torch.zeros(2), [1, 2]), (torch.zeros(2), [1])], "tokens")


def layers(count: int) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), *(nn.Linear(1000, 1000) for _ in range(count)))


@pytest.mark.parametrize(
    ("network", "built", "needed"),
    [
        # Refused while it is built: 4 MB a layer, of 20 MB that there are.
        (lambda: layers(1000), 5, 20),
        # Its weights fit, but not their gradients and the optimizer's state.
        (lambda: layers(3), 3, 36),
    ],
)
def test_a_network_that_fits_into_no_memory_is_refused_before_it_fills_it(
    network: Callable[[], nn.Module],
    built: int,
    needed: int,
    made: Callable[..., Problem],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("indian_tune.problems.own.memory", lambda: (0, 20_000_000))
    monkeypatch.setattr("indian_tune.problems.machine.memory", lambda: (0, 20_000_000))
    drawn: list[nn.Module] = []
    reset = nn.Linear.reset_parameters

    def draw(layer: nn.Linear) -> None:
        drawn.append(layer)
        reset(layer)

    monkeypatch.setattr(nn.Linear, "reset_parameters", draw)
    message = (
        r"problem\.factory = 'own_problem:make': its data and the weights of its model 'net' need "
        r"at least 0 GB of memory, and this machine has 0 GB: make them smaller"
    )
    with pytest.raises(InputError, match=message):
        made(lambda: sound(build_model=lambda *, seed, dropout: network()))
    assert len(drawn) <= 1 + built
    assert not nn.modules.module._global_parameter_registration_hooks
