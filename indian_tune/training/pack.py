"""K runs trained in step: one forward pass, one backward pass and one optimizer step for all."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from indian_tune.optim.stacked import StackedOptimizer, StepSignature
from indian_tune.problems.randomness import stream_key
from indian_tune.problems.task import get_task
from indian_tune.training.augmentation import augmentation_bits, crops
from indian_tune.training.capture import captured
from indian_tune.training.execution import CHECK_EVERY
from indian_tune.training.feed import Feed, epoch_order
from indian_tune.training.pack_evaluation import LaneMeasures, PackEvaluation
from indian_tune.training.parameter_layout import ParameterLayout
from indian_tune.training.stacked_forward import Named, drawing_layers, make_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from indian_tune.training.live import LiveRun, Setup
    from indian_tune.training.run import Run

# As in torch's clip_grad_norm_.
CLIP_EPS = 1e-6


@dataclass(frozen=True)
class PackSignature:
    """What runs must have in common to be packed together."""

    step: StepSignature
    batch_size: int
    dropout: float
    clips: bool = False
    averages: bool = False

    @classmethod
    def of(cls, run: Run, config: Mapping[str, float]) -> PackSignature:
        """Return the signature of a run.

        Args:
            run: what is trained.
            config: of its optimizer, complete.
        """
        return cls(
            StepSignature.of(run.family, config),
            run.batch_size,
            run.dropout,
            clips=run.clip_norm > 0,
            averages=run.ema_decay > 0,
        )


class Pack:
    """Lanes for K runs of one signature, of a shape that never changes.

    The parameters of all lanes are one tensor [K, N]. A run is copied in before an epoch and out
    after it, so a lane may hold another run, or none, in every epoch. Whatever the others are, and
    in whatever lane, a run's bits are the same: rows never meet, and an idle lane is computed like
    any other.

    Args:
        signature: of the runs.
        lanes: K.
        setup: what the runs share.
        convolutions: see :func:`make_forward`.

    :func:`indian_tune.training.packable.packing_fault` tells beforehand whether it can be done.
    """

    def __init__(
        self, signature: PackSignature, lanes: int, setup: Setup, convolutions: str
    ) -> None:
        device, precision = setup.device, setup.precision
        network = setup.problem.build_model(seed=0, dropout=signature.dropout)
        network = network.to(device, precision.dtype)
        assert isinstance(setup.train, Feed), "streams are trained one run after another"
        self._feed = feed = setup.train
        self._task = get_task(setup.problem.task)
        self._augmented = setup.augmented
        self._device = device
        self._precision = precision
        self._batch_size = signature.batch_size
        self._measuring = make_forward(network, convolutions, feed.rank, training=False)
        self._forward = make_forward(network, convolutions, feed.rank)
        self._setup = setup
        self._evaluations: dict[str, PackEvaluation] = {}
        named = dict(network.named_parameters())
        self._trained = [name for name, each in named.items() if each.requires_grad]
        self._layout = ParameterLayout({name: named[name] for name in self._trained})
        self._params = torch.zeros(lanes, self._layout.size, device=device, dtype=precision.dtype)
        self._grads = torch.zeros_like(self._params)
        self._gaps = self._layout.gaps(self._grads)
        self._param_views = {
            name: view.detach().requires_grad_()
            for name, view in self._layout.views(self._params).items()
        }
        self._constants = {
            name: torch.stack([each.detach()] * lanes)
            for name, each in (*named.items(), *network.named_buffers())
            if name not in self._trained
        }
        self._optimizer = StackedOptimizer(signature.step, self._params)
        # Of runs that have neither, no memory is taken.
        self._largest_norms = self._params.new_zeros(lanes, 1) if signature.clips else None
        self._averages = torch.zeros_like(self._params) if signature.averages else None
        full, rest = divmod(len(feed), signature.batch_size)
        self._sizes = [signature.batch_size] * full + [rest] * (rest > 0)
        self._no_keys = torch.zeros(0, 2, lanes, 1, dtype=torch.int32, device=device)
        self._dropouts = drawing_layers(network)
        self._tables = self._make_tables(len(self._sizes), lanes)
        # Batches done in this epoch: on the device, so that a captured step finds its place.
        self._cursor = torch.zeros(1, dtype=torch.int64, device=device)
        self._ones = self._params.new_ones(lanes)
        self._step_of = {size: self._captured(size) for size in dict.fromkeys(self._sizes)}

    def _make_tables(self, steps: int, lanes: int) -> dict[str, Tensor]:
        """Return what is known of an epoch before its first step: a row for each step.

        It is filled in once an epoch, by :meth:`_plan`, as it would take a step longer to compute
        than the step itself. A captured step takes its row by the cursor.
        """
        picks = torch.zeros(steps, lanes, self._batch_size, dtype=torch.int64, device=self._device)
        tables = {
            "pick": picks,
            "factors": self._optimizer.plan(steps),
            "losses": self._params.new_zeros(steps, lanes),
        }
        if self._dropouts:
            shape = (steps, len(self._dropouts), 2, lanes, 1)
            tables["keys"] = torch.zeros(shape, dtype=torch.int32, device=self._device)
        if self._augmented:
            tables["crops"] = torch.stack([picks, picks], 1)
        if self._averages is not None:
            tables["weights"] = self._params.new_zeros(steps, lanes, 1)
        return tables

    @property
    def lanes(self) -> int:
        """K."""
        return int(self._params.shape[0])

    def train_epoch(self, lives: Sequence[LiveRun]) -> None:
        """Train an epoch of at most K runs, leaving the result in them.

        Args:
            lives: of this pack's signature.
        """
        for lane in range(self.lanes):
            if lane < len(lives):
                self._load(lane, lives[lane])
            else:
                self._clear(lane)
        self._plan(lives)
        self._cursor.zero_()
        taken = [0] * len(lives)
        with self._precision.arithmetic(self._device):
            for number, size in enumerate(self._sizes, start=1):
                self._step_of[size]()
                if number % CHECK_EVERY == 0 or number == len(self._sizes):
                    self._check(lives, taken, number)
                    if all(live.diverged for live in lives):
                        break
        for lane, live in enumerate(lives):
            live.step += taken[lane]
            self._unload(lane, live)

    def measure(self, lives: Sequence[LiveRun]) -> list[LaneMeasures] | None:
        """Measure the runs of the last epoch that was trained, all at once.

        Returns:
            ``None`` if they can only be measured one by one: on streams, and by tasks or metrics
            of a user's own, which may do anything.
        """
        if not self.dry_measure():
            return None
        metrics = {split: each.metrics() for split, each in self._evaluations.items()}
        return [
            LaneMeasures(
                {split: lanes[lane] for split, lanes in metrics.items()},
                self._evaluations["test"].correct(lane) if live.ends else None,
            )
            for lane, live in enumerate(lives)
        ]

    def dry_measure(self) -> bool:
        """Measure all lanes and read nothing; return whether they can be measured together."""
        splits = self._setup.splits.items()
        feeds = {split: feed for split, feed in splits if isinstance(feed, Feed)}
        own = self._task.own or not self._task.shipped
        if own or len(feeds) < len(splits):
            return False
        if not self._evaluations:
            self._evaluations = {split: self._evaluation(feed) for split, feed in feeds.items()}
        for evaluation in self._evaluations.values():
            evaluation.run()
        return True

    def _evaluation(self, feed: Feed) -> PackEvaluation:
        rows = self._params if self._averages is None else self._averages
        views, keys = self._layout.views(rows), self._no_keys
        # Without a reference to the pack: in a cycle it would keep its memory when it is dropped.
        measuring, constants = self._measuring, self._constants

        def forward(inputs: Tensor) -> Tensor:
            return measuring(views, constants, inputs, keys)

        return PackEvaluation(forward, feed, self._task, self.lanes, self._precision)

    def dry_run(self, steps: int) -> None:
        """Plan an epoch with empty lanes, and take steps of it.

        Args:
            steps: of full batches, or of what there is if it is less than one.
        """
        for lane in range(self.lanes):
            self._clear(lane)
        self._plan([])
        self.dry_steps(steps)

    def dry_steps(self, steps: int) -> None:
        """Take more steps of a :meth:`dry_run`, without what an epoch plans once for all its steps.

        Args:
            steps: as there.
        """
        self._cursor.zero_()
        for _ in range(steps):
            self.step()
            self._cursor.zero_()

    @torch.no_grad()
    def dry_losses(self, device: torch.device) -> None:
        """Compute losses as if on another device, of tensors that have a shape and no values."""

        def there(tensor: Tensor) -> Tensor:
            return torch.empty_like(tensor, device=device)

        row = {name: table[0] for name, table in self._tables.items()}
        batch = (there(each) for each in self._batch(row, self._sizes[0]))
        params, constants = (
            {name: there(each) for name, each in own.items()}
            for own in (self._param_views, self._constants)
        )
        self._losses(params, constants, *batch)

    def step(self) -> None:
        """Take the next step of an epoch, of a full batch or of what there is."""
        with self._precision.arithmetic(self._device):
            self._step_of[self._sizes[0]]()

    def _captured(self, size: int) -> Callable[[], None]:
        own = weakref.proxy(self)
        with self._precision.arithmetic(self._device):
            return captured(lambda: own._step(size), self._cursor.zero_, self._device)

    def _step(self, size: int) -> None:
        """Take the next step of the epoch in all lanes; nothing here waits for the device."""
        row = {
            name: table.index_select(0, self._cursor)[0]
            for name, table in self._tables.items()
            if name not in ("losses", "factors")
        }
        inputs, labels, keys = self._batch(row, size)
        losses = self._losses(self._param_views, self._constants, inputs, labels, keys)
        # A loss depends on its own row alone, so the gradient of their sum holds those of each.
        grads = torch.autograd.grad(losses, list(self._param_views.values()), self._ones)
        # One kernel of a GPU, where copies to views of the rows would be one each.
        parts = zip(grads, self._gaps, strict=True)
        both = [
            part
            for grad, gap in parts
            for part in (grad.reshape(self.lanes, -1), gap)
            if part.numel()
        ]
        torch.cat(both, 1, out=self._grads)
        scaled = self._grads
        if self._largest_norms is not None:
            norms = torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
            # Not in place: what lies between the parameters has to stay 0.
            scaled = scaled * (self._largest_norms / (norms + CLIP_EPS)).clamp(max=1)
        self._optimizer.apply(scaled, self._tables["factors"], self._cursor)
        if self._averages is not None:
            self._averages.lerp_(self._params, row["weights"])
        self._tables["losses"].index_copy_(0, self._cursor, losses.detach().unsqueeze(0))
        self._cursor += 1

    def _batch(self, row: Mapping[str, Tensor], size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs, labels and keys of the masks of a row of the tables."""
        chosen = row["crops"][..., :size] if self._augmented else None
        inputs, labels = self._feed.gather(row["pick"][:, :size], chosen)
        return inputs, labels, row.get("keys", self._no_keys)

    def _losses(
        self, params: Named, constants: Named, inputs: Tensor, labels: Tensor, keys: Tensor
    ) -> Tensor:
        with self._precision.forward(inputs.device):
            return self._task.lane_losses(self._forward(params, constants, inputs, keys), labels)

    def _check(self, lives: Sequence[LiveRun], taken: list[int], number: int) -> None:
        finite = self._tables["losses"][:number, : len(lives)].isfinite().all(0).tolist()
        for lane, live in enumerate(lives):
            if not live.diverged:
                taken[lane] = number
                live.diverged = not finite[lane]

    @torch.no_grad()
    def _load(self, lane: int, live: LiveRun) -> None:
        run, own = live.run, dict(live.model.named_parameters())
        for name, row in self._layout.views(self._params[lane]).items():
            row.copy_(own[name])
        others = {**own, **dict(live.model.named_buffers())}
        for name, constants in self._constants.items():
            constants[lane] = others[name]
        self._optimizer.clear_row(lane)
        self._optimizer.set_row(lane, live.config, live.step)
        for name, states in self._optimizer.states.items():
            for parameter, row in self._layout.views(states[lane]).items():
                state = self._optimizer.read(live.optimizer, own[parameter], name)
                if state is not None:
                    row.copy_(state)
        if self._largest_norms is not None:
            self._largest_norms[lane] = run.clip_norm
        if self._averages is not None:
            assert live.average is not None
            averaged = dict(live.average.module.named_parameters())
            for name, row in self._layout.views(self._averages[lane]).items():
                row.copy_(averaged[name])

    def _clear(self, lane: int) -> None:
        self._params[lane] = 0
        self._optimizer.clear_row(lane)
        if self._averages is not None:
            self._averages[lane] = 0

    @torch.no_grad()
    def _plan(self, lives: Sequence[LiveRun]) -> None:
        """Fill in the tables for an epoch of runs that are loaded; idle lanes train on anything."""
        steps, idle = len(self._sizes), [0] * (self.lanes - len(lives))
        self._tables["factors"].copy_(self._optimizer.plan(steps))
        orders = torch.zeros(self.lanes, steps * self._batch_size, dtype=torch.int64)
        for lane, live in enumerate(lives):
            order = epoch_order(len(self._feed), seed=live.run.seed, epoch=live.epoch + 1)
            orders[lane, : len(order)] = order
        self._tables["pick"].copy_(orders.view(self.lanes, steps, -1).transpose(0, 1))
        seeds = torch.tensor([*(live.run.seed for live in lives), *idle]).to(self._device)
        begun = torch.tensor([*(live.step for live in lives), *idle]).to(self._device)
        counts = begun + torch.arange(steps, device=self._device).unsqueeze(1)
        for number, layer in enumerate(self._dropouts):
            for half, key in enumerate(stream_key(seeds, counts, layer.layer)):
                self._tables["keys"][:, number, half] = key
        if self._augmented:
            bits = augmentation_bits(self._batch_size, seed=seeds, steps=counts)
            self._tables["crops"].copy_(crops(bits, self._feed.width).transpose(0, 1))
        if self._averages is not None:
            own = [*(1 - live.run.ema_decay for live in lives), *idle]
            shares = torch.tensor(own, dtype=torch.float64)
            weights = shares.to(self._averages).where(counts > 0, 1.0)
            self._tables["weights"].copy_(weights.unsqueeze(2))

    @torch.no_grad()
    def _unload(self, lane: int, live: LiveRun) -> None:
        own = dict(live.model.named_parameters())
        for name, row in self._layout.views(self._params[lane]).items():
            own[name].copy_(row)
        for name, buffer in live.model.named_buffers():
            buffer.copy_(self._constants[name][lane])
        if self._averages is not None:
            assert live.average is not None
            averaged = dict(live.average.module.named_parameters())
            for name, row in self._layout.views(self._averages[lane]).items():
                averaged[name].copy_(row)
            for buffer, present in zip(
                live.average.module.buffers(), live.model.buffers(), strict=True
            ):
                buffer.copy_(present)
            live.average.n_averaged.fill_(live.step)
        states: dict[Tensor, dict[str, Tensor]] = {own[name]: {} for name in self._trained}
        for name, stacked in self._optimizer.states.items():
            for parameter, row in self._layout.views(stacked[lane]).items():
                states[own[parameter]][name] = row
        self._optimizer.write(
            live.optimizer, live.scheduler, states, config=live.config, count=live.step
        )
