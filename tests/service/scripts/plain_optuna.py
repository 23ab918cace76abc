import optuna
import torch
from sklearn.datasets import load_digits
from torch import nn

x, y = map(torch.from_numpy, load_digits(return_X_y=True))
(x, y), (held_x, held_y) = [(x[n::3].float() / 16, y[n::3]) for n in range(2)]


def objective(trial):
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.SGD(model.parameters(), trial.suggest_float("lr", 0.01, 1, log=True))
    for _ in range(3):
        for batch in torch.randperm(len(x)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    return (model(held_x).argmax(1) != held_y).float().mean().item()


study = optuna.create_study()
study.optimize(objective, n_trials=3)
print(study.best_params)
