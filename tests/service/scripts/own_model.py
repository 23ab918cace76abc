import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from indian_tune import Loop, Study, search


def train(run):
    (x, y), (held_x, held_y) = run.data
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = run.optimizer(model.parameters())
    for _ in run.epochs(model=model, optimizer=optimizer):
        for batch in torch.randperm(len(x)).split(run.batch_size):
            optimizer.zero_grad()
            loss = cross_entropy(model(x[batch]), y[batch])
            loss.backward()
            optimizer.step()
        wrong = (model(held_x).argmax(1) != held_y).float().mean()
        test = run.sealed(lambda data: (model(data[0]).argmax(1) != data[1]).float().mean())
        run.report(train_loss=loss, error=wrong, test_error=test)


def problem():
    x, y = map(torch.from_numpy, load_digits(return_X_y=True))
    parts = [(x[n::3].float() / 16, y[n::3]) for n in range(3)]
    return Loop(train, "digits", "perceptron", 10, data=parts[:2], test=parts[2])


protocol = {"epochs": 3, "confirm_seeds": 2}
print(search(Study("own", ["indian", "sgd", "adam"], problem, protocol, {"trials": 3})).status())
