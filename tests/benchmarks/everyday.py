"""Training as a user would write it today: what the trainer and the search are compared with.

A DataLoader over a torchvision dataset with transforms, NCHW, eager, the published recursion of
INDIAN tensor by tensor, ``loss.item()`` in every step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import VisionDataset

from indian_tune.optim import psi_form_step
from indian_tune.problems.models import CounterDropout, Pointwise

if TYPE_CHECKING:
    from indian_tune.problems.problem import Problem, Split


class ImagesInMemory(VisionDataset):  # type: ignore[misc]
    """A data set as torchvision has them: arrays of bytes, handed out as transformed images."""

    def __init__(self, problem: Problem, split: Split) -> None:
        scale = problem.scale / 255
        to_tensor = [transforms.ToTensor(), transforms.Normalize(problem.mean, problem.std)]
        super().__init__(root="", transform=transforms.Compose(to_tensor))
        images = (split.inputs / scale).to(torch.uint8)
        self.data = images.permute(0, 2, 3, 1).squeeze(-1).numpy()
        self.targets = split.labels.tolist()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image = Image.fromarray(np.ascontiguousarray(self.data[index]))
        return self.transform(image), self.targets[index]


def everyday_network(problem: Problem, *, seed: int = 0, dropout: float = 0.5) -> nn.Module:
    """The problem's network of torch's own layers, in torch's default memory format."""
    network = problem.build_model(seed=seed, dropout=dropout)

    def translated(layer: nn.Module) -> nn.Module:
        if isinstance(layer, nn.Sequential):
            return nn.Sequential(*map(translated, layer))
        if isinstance(layer, CounterDropout):
            return nn.Dropout(layer.rate)
        if isinstance(layer, Pointwise):
            plain = nn.Conv2d(layer.in_channels, layer.out_channels, 1)
            plain.load_state_dict(layer.state_dict())
            return plain
        return layer

    return translated(network).to(memory_format=torch.contiguous_format)


class EverydayTraining:
    """One network, trained epoch by epoch."""

    def __init__(
        self,
        problem: Problem,
        *,
        gamma0: float,
        alpha: float,
        beta: float,
        batch_size: int,
        dropout: float,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        train = ImagesInMemory(problem, problem.train)
        self.train_loader = DataLoader[Any](train, batch_size=batch_size, shuffle=True)
        if problem.validation is not None:
            held_out = ImagesInMemory(problem, problem.validation)
            self.validation_loader = DataLoader[Any](held_out, batch_size=batch_size)
        self.model = everyday_network(problem, seed=seed, dropout=dropout)
        self.phases = [(1 - alpha * beta) * each.detach().clone() for each in self._parameters()]
        self.gamma0, self.alpha, self.beta = gamma0, alpha, beta
        self.steps = 0

    def _parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def epoch(self) -> float:
        """Train one epoch; return the sum of the batches' losses."""
        self.model.train()
        total = 0.0
        for images, labels in self.train_loader:
            self.model.zero_grad()
            loss = nn.functional.cross_entropy(self.model(images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            gamma = self.gamma0 / (self.steps + 1) ** 0.5
            with torch.no_grad():
                for theta, psi in zip(self.model.parameters(), self.phases, strict=True):
                    assert theta.grad is not None
                    psi_form_step(
                        theta, psi, theta.grad, gamma=gamma, alpha=self.alpha, beta=self.beta
                    )
            self.steps += 1
            total += loss.item()
        return total

    @torch.no_grad()
    def validation_error(self) -> float:
        """Return the share of validation images that are classified wrongly."""
        self.model.eval()
        wrong, count = 0, 0
        for images, labels in self.validation_loader:
            wrong += int((self.model(images).argmax(dim=1) != labels).sum())
            count += len(labels)
        return wrong / count
