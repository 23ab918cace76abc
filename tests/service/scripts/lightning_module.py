import logging
import warnings

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from indian_tune import Loop, Study, search
from indian_tune.lightning import RunCallback


class Perceptron(lightning.LightningModule):
    def __init__(self, run):
        super().__init__()
        self.run, self.layers = run, nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def configure_optimizers(self):
        return self.run.optimizer(self.parameters())

    def wrong(self, batch):
        return (self.layers(batch[0]).argmax(1) != batch[1]).float().mean()

    def training_step(self, batch, _):
        loss = cross_entropy(self.layers(batch[0]), batch[1])
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        self.log("val_error", self.wrong(batch))


def train(run):
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    module, (learn, check) = Perceptron(run), run.data
    callback = RunCallback(run, train_loss="loss", error="val_error", test_error=module.wrong)
    lightning.Trainer(
        max_epochs=run.total_epochs,
        callbacks=callback,
        accelerator=run.device.type,
        devices=[run.device.index] if run.device.index is not None else 1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(module, DataLoader(learn, run.batch_size, shuffle=True), DataLoader(check, 1000))


def problem():
    # A deprecation within Lightning, and its hint for Slurm. What a run sets ends with its epoch.
    warnings.filterwarnings("ignore", ".*(LeafSpec|srun)")
    x, y = map(torch.from_numpy, load_digits(return_X_y=True))
    parts = [(x[n::3].float() / 16, y[n::3]) for n in range(3)]
    data = [TensorDataset(*part) for part in parts[:2]]
    return Loop(train, "digits", "perceptron", 10, data=data, test=parts[2])


protocol = {"epochs": 3, "confirm_seeds": 2}
study = Study("own-lightning", ["indian", "adam"], problem, protocol, {"trials": 3})
print(search(study).status())
