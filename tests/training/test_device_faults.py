"""What a GPU would meet, tested without one: capturing, packability and errors of the device."""

from __future__ import annotations

import gc
import weakref
from collections import Counter, defaultdict
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor, nn

from indian_tune.optim.families import get_family
from indian_tune.problems import Loop
from indian_tune.problems.tasks.classification import Classification
from indian_tune.training import LoopTrainer, Packing, Precision, Run, Trainer, capture
from indian_tune.training import pack as packs
from indian_tune.training import stacked as stacking
from indian_tune.training.capture import captured, warm_up
from indian_tune.training.feed import Feed
from indian_tune.training.float32 import read_float32, write_float32
from indian_tune.training.live import Setup
from indian_tune.training.packable import packing_fault
from indian_tune.training.packing import PackShape
from indian_tune.training.probe import choose, signatures_of
from indian_tune.training.stacked_forward import CONVOLUTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indian_tune.problems.problem import Problem

STACKED: dict[str, Any] = {"packing": Packing(2, "grouped", execution="stacked")}
LOST = torch.AcceleratorError("CUDA error: device-side assert triggered")


class Own(nn.Module):
    """A network whose last step is given."""

    def __init__(self, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.dense, self.last = nn.Linear(64, 3), last

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.dense(images.flatten(1)))


def _by_code() -> RuntimeError:
    error = torch.AcceleratorError("CUDA error: a text of another version")
    error.error_code = 2  # type: ignore[attr-defined]
    return error


# Every error that says that a GPU's memory does not suffice.
SHORTAGES: dict[str, Callable[[], RuntimeError]] = {
    "torch": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "runtime": lambda: torch.AcceleratorError("CUDA error: out of memory\nCompile with"),
    "code": _by_code,
    "cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `create`"),
    "cudnn": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    "triton": lambda: RuntimeError("Triton Error [CUDA]: out of memory"),
}


class Squared(nn.Module):
    """A network that only torch.func can compute for several runs at once."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(64, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.dense(images.flatten(1)).square()
        return logits


@pytest.fixture
def settings() -> Iterator[None]:
    """Put back how torch multiplies float32 numbers."""
    before = read_float32()
    yield
    write_float32(before)


@pytest.mark.parametrize("examples", [5, 16, 20, 32, 40, 48, 70])
def test_capturing_never_leaves_an_epoch_however_short_it_is(
    problem: Problem, make_run: Callable[..., Run], examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[tuple[int, int]] = []

    def as_on_a_gpu(step: Any, rewind: Any, device: torch.device) -> Any:
        del device
        warm_up(step, rewind)
        return step

    def watched(pack: packs.Pack, size: int) -> None:
        first = int(pack._cursor) * 16
        places.append((first, first + size))
        step(pack, size)

    step = packs.Pack._step
    monkeypatch.setattr(packs, "captured", as_on_a_gpu)
    monkeypatch.setattr(packs.Pack, "_step", watched)
    few = replace(problem, train=problem.train.first(examples))
    trainer = Trainer(few, **STACKED)
    trainer.add(make_run())
    (record,) = trainer.advance()
    full, rest = divmod(examples, 16)
    sizes = [16] * full + [rest] * (rest > 0)
    warming = [(0, size) for size in dict.fromkeys(sizes) for _ in range(3)]
    assert places == warming + [(16 * n, 16 * n + size) for n, size in enumerate(sizes)]
    assert record.step == len(sizes)


class TestWhetherRunsCanBePacked:
    def test_is_found_out_before_anything_is_computed(
        self, problem: Problem, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What fails on the device afterwards is no reason to loop, and is raised."""
        built: list[int] = []

        class Failing(packs.Pack):
            def __init__(self, *arguments: Any) -> None:
                built.append(1)
                raise RuntimeError("CUDNN_STATUS_EXECUTION_FAILED")

        monkeypatch.setattr(stacking, "Pack", Failing)
        own = replace(problem, model="own", build_model=lambda **_: Squared())
        trainer = Trainer(own, **STACKED)
        trainer.add(make_run(dropout=0.0))
        with pytest.raises(RuntimeError, match="CUDNN_STATUS_EXECUTION_FAILED"):
            trainer.advance()
        assert built == [1]

    @pytest.mark.parametrize(
        ("last", "copies"),
        [
            (lambda x: x * torch.tensor(2.0, device=x.device), True),
            (lambda x: x + x.new_tensor([1.0, 2.0, 3.0]), True),
            (lambda x: x + torch.arange(3).to(x.device), True),
            (lambda x: x[:, [2, 1, 0]], True),
            # A number of the host is given to a kernel by value.
            (lambda x: x * torch.tensor(2.0), False),
            (lambda x: x * torch.arange(3, device=x.device), False),
        ],
    )
    def test_a_network_that_copies_from_the_host_is_not_captured(
        self, problem: Problem, last: Callable[[Tensor], Tensor], copies: bool
    ) -> None:
        own = replace(problem, model="own", build_model=lambda **_: Own(last))
        assert self.fault(own, "cpu") is None
        fault = self.fault(own, "cuda")
        assert (fault is not None) is copies
        assert fault is None or "copies from the CPU's memory (aten._to_copy" in fault

    def test_so_is_a_loss_of_ones_own(self, problem: Problem) -> None:
        class Weighted(Classification):
            def lane_losses(self, outputs: Tensor, labels: Tensor) -> Tensor:
                scale = outputs.new_tensor([1.0, 2.0, 3.0])
                return super().lane_losses(outputs * scale, labels)

        plain = replace(
            problem, build_model=lambda **_: nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
        )
        assert self.fault(plain, "cuda") is None
        fault = self.fault(replace(plain, task=Weighted()), "cuda")
        assert fault is not None
        assert "its forward pass or loss copies from the CPU's memory" in fault

    def fault(self, problem: Problem, device: str) -> str | None:
        run = Run("r", 0, 1, "sgd", {"gamma0": 0.1}, 16, 0.0)
        feed = Feed(problem.train, problem, torch.device("cpu"), torch.float32)
        setup = Setup(problem, torch.device(device), Precision("float32"), feed, feed, None, feed)
        config = get_family("sgd").with_steps(get_family("sgd").complete(run.config), 4)
        return packing_fault(packs.PackSignature.of(run, config), setup, "grouped")

    def test_decides_what_provenance_says(self, problem: Problem) -> None:
        drawing = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 3))
        own = replace(problem, model="own", build_model=lambda **_: drawing)
        assert Trainer(own, **STACKED).provenance.execution == "loop"
        of_torch = Run("r", 0, 1, "torch.optim:RMSprop", {"gamma0": 0.1}, 16, 0.0)
        packing = replace(STACKED["packing"], typical=(of_torch,))
        assert Trainer(problem, packing=packing).provenance.execution == "loop, by hand"


def test_a_pack_that_is_dropped_leaves_no_memory_behind(
    problem: Problem, make_run: Callable[..., Run]
) -> None:
    """Its memory is wanted at once, for example by fewer lanes after an out-of-memory error."""
    gc.disable()
    try:
        trainer = Trainer(problem, **STACKED)
        trainer.add(make_run())
        trainer.advance()
        assert isinstance(trainer._execution, stacking.Stacked)
        (pack,) = trainer._execution._packs.values()
        assert pack is not None
        assert pack._evaluations
        kept = weakref.ref(pack)
        del trainer, pack
        assert kept() is None
    finally:
        gc.enable()


def test_the_graph_that_lends_its_memory_lives_until_the_next_capture_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    uses: Counter[int] = Counter()

    class Graph:
        def __init__(self) -> None:
            self.of: int | None = None
            self.itself = self

        def pool(self) -> int | None:
            return self.of

        def replay(self) -> None:
            """Do nothing."""

        def __del__(self) -> None:
            if self.of is not None:
                uses[self.of] -= 1

    @contextmanager
    def begun(graph: Graph, pool: int | None, stream: object) -> Iterator[None]:
        del stream
        # As the interpreter may at any time.
        gc.collect()
        assert pool is None or uses[pool] > 0, "the memory has been freed"
        graph.of = 1 if pool is None else pool
        uses[graph.of] += 1
        yield

    streams = SimpleNamespace(wait_stream=lambda _: None)
    named = {
        "device": lambda _: nullcontext(),
        "current_device": lambda: 0,
        "current_stream": lambda: streams,
        "stream": lambda _: nullcontext(),
        "CUDAGraph": Graph,
        "graph": begun,
    }
    for name, instead in named.items():
        monkeypatch.setattr(torch.cuda, name, instead)
    monkeypatch.setattr(capture, "_stream", lambda _: streams)
    monkeypatch.setattr(capture, "_graphs", defaultdict(WeakSet))
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            captured(lambda: None, lambda: None, torch.device("cuda"))
    finally:
        gc.enable()
    assert uses[1] > 0


def test_a_capture_that_is_broken_off_tells_why_and_leaves_its_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = ["default"]

    @contextmanager
    def on(stream: str) -> Iterator[None]:
        before = streams[-1]
        streams.append(stream)
        try:
            yield
        finally:
            streams.append(before)

    @contextmanager
    def broken(graph: object, pool: object, stream: str) -> Iterator[None]:
        del graph, pool
        streams.append(stream)
        try:
            yield
        finally:
            # As torch's does before it goes back to the stream of before.
            raise torch.AcceleratorError("CUDA error: a previous error during capture")

    def step() -> None:
        if streams[-1] == "capture":
            raise torch.OutOfMemoryError("CUDA out of memory")

    waiting = SimpleNamespace(wait_stream=lambda _: None)
    named = {
        "device": lambda _: nullcontext(),
        "current_device": lambda: 0,
        "current_stream": lambda: waiting,
        "stream": lambda stream: on("default" if stream is waiting else "side"),
        "CUDAGraph": object,
        "graph": lambda graph, pool, stream: broken(graph, pool, "capture"),
    }
    for name, instead in named.items():
        monkeypatch.setattr(torch.cuda, name, instead)
    monkeypatch.setattr(capture, "_stream", lambda _: SimpleNamespace(wait_stream=lambda _: None))
    monkeypatch.setattr(capture, "_graphs", defaultdict(WeakSet))
    with pytest.raises(torch.OutOfMemoryError):
        captured(step, lambda: None, torch.device("cuda"))
    assert streams[-1] == "default"


class TestTheProbe:
    def test_goes_on_when_a_way_of_packing_fails(self) -> None:
        def seconds(shape: PackShape) -> float:
            if shape.convolutions == "grouped" or shape.lanes > 4:
                raise RuntimeError("no engine was found")
            return 1.0

        assert choose(seconds, CONVOLUTIONS) == PackShape(4, "matmul")
        assert choose(seconds, CONVOLUTIONS, 3) == PackShape(3, "matmul")
        with pytest.raises(RuntimeError, match="no engine was found"):
            choose(seconds, ["grouped"])

    @pytest.mark.parametrize("shortage", SHORTAGES)
    def test_passes_over_what_the_memory_does_not_suffice_for(self, shortage: str) -> None:
        def seconds(shape: PackShape) -> float:
            if shape.convolutions == "matmul":
                raise SHORTAGES[shortage]()
            return 1.0

        assert choose(seconds, CONVOLUTIONS, 8) == PackShape(8, "grouped")
        with pytest.raises(type(SHORTAGES[shortage]())):
            choose(seconds, ["matmul"], 8)

    def test_ends_with_an_error_of_the_device(self) -> None:
        def seconds(shape: PackShape) -> float:
            if shape.lanes > 1:
                raise LOST
            return 1.0

        with pytest.raises(torch.AcceleratorError):
            choose(seconds, CONVOLUTIONS)

    def test_takes_the_steps_of_the_runs_to_come(
        self, problem: Problem, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = (
            make_run(batch_size=64),
            make_run(family="adam", clip_norm=1.0),
            make_run(family="adam", seed=7, clip_norm=2.0),
        )
        alive: list[tuple[int, str]] = []
        make = packs.Pack.__init__

        def noted(self: packs.Pack, signature: packs.PackSignature, *others: Any) -> None:
            alive.append((signature.batch_size, signature.step.family))
            make(self, signature, *others)

        monkeypatch.setattr(packs.Pack, "__init__", noted)
        packing = Packing(2, execution="stacked", typical=runs)
        assert Trainer(problem, packing=packing).pack_shape is not None
        assert len(signatures_of(runs)) == 2
        assert alive == [(64, "indian"), (16, "adam")] * 2


@pytest.mark.usefixtures("settings")
class TestTheNewFlagsOfTf32:
    def test_in_own_code_do_not_stop_a_loop_of_ones_own(self) -> None:
        trainer = LoopTrainer(Loop(lambda _: None, "points", "line", 2))
        assert not trainer.provenance.tf32
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        assert trainer.provenance.tf32

    def test_in_own_code_do_not_stop_the_packages_loop(self) -> None:
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        set_by_user = read_float32()
        with Precision("float32").arithmetic(torch.device("cuda")):
            assert torch.backends.cuda.matmul.fp32_precision == "ieee"
        assert set_by_user.items() <= read_float32().items()

    @pytest.mark.parametrize("backend", ["generic", "cuda"])
    @pytest.mark.parametrize("tf32", [False, True])
    def test_for_all_operations_at_once_are_set_aside_and_put_back(
        self, backend: str, tf32: bool
    ) -> None:
        torch._C._set_fp32_precision_setter(backend, "all", "tf32")
        set_by_user = read_float32()
        with Precision("float32", tf32=tf32).arithmetic(torch.device("cuda")):
            for operation in ("matmul", "conv", "rnn"):
                now = torch._C._get_fp32_precision_getter("cuda", operation)
                assert (now == "tf32") is tf32
        assert set_by_user.items() <= read_float32().items()
