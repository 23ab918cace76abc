"""What a worker imports before its first step."""

from __future__ import annotations

import subprocess
import sys

TRAINING = """
import sys
from indian_tune.problems import load_problem
from indian_tune.training import Run, Trainer, skip_compiler_import

assert skip_compiler_import()
assert skip_compiler_import(), "once more changes nothing"
problem = load_problem(dataset="digits", model="nin-small", width=0.2, validation_fraction=0.9)
trainer = Trainer(problem)
config = {"alpha": 0.5, "beta": 0.1, "gamma0": 0.01}
trainer.add(Run("run", 0, 1, "indian", config, batch_size=32, dropout=0.5))
(record,) = trainer.advance()
assert not record.diverged
spared = ("torch._dynamo", "sklearn", "scipy", "pandas", "sympy")
print(*(name for name in spared if name in sys.modules))
"""


def test_an_epoch_of_indian_on_the_digits_imports_no_compiler_and_no_scikit_learn() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
