import math

import torch
from torch import nn
from torch.nn.functional import cross_entropy

TEXT = "to be or not to be that is the question " * 60
SYMBOLS = sorted(set(TEXT))


class Characters(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(len(SYMBOLS), 16)
        self.recur = nn.GRU(16, 32, batch_first=True)
        self.out = nn.Linear(32, len(SYMBOLS))

    def forward(self, x):
        return self.out(self.recur(self.embed(x))[0])


def load(length=16):
    ids = torch.tensor([SYMBOLS.index(each) for each in TEXT])
    rows = (len(ids) - 1) // length
    x = ids[: rows * length].view(rows, length)
    y = ids[1 : rows * length + 1].view(rows, length)
    return [(x[n::3], y[n::3]) for n in range(3)]


@torch.no_grad()
def evaluate(model, data):
    loss = cross_entropy(model(data[0]).flatten(0, 1), data[1].flatten())
    return loss.item() / math.log(2)


def train(learn, check, test):
    model = Characters()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(3):
        total = 0.0
        for batch in torch.randperm(len(learn[0])).split(16):
            optimizer.zero_grad()
            loss = cross_entropy(model(learn[0][batch]).flatten(0, 1), learn[1][batch].flatten())
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        print(epoch, total / len(learn[0]), evaluate(model, check))
    print("test", evaluate(model, test))


train(*load())
