from __future__ import annotations

import subprocess
import sys

import pytest

# The trainer is loaded as it is in a worker: how the heap can grow depends on it.
TASK = """
import resource, sys, torch
from indian_tune.training import Trainer, keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

# 100 MB each: blocks of more than 32 MiB are always mapped on their own, and so given back at once,
# unless the C library is told otherwise. What it does with smaller ones depends on its history.
def use_memory():
    several = [torch.full((25_000_000,), 1.0) for _ in range(3)]
    del several

for _ in range(3):
    use_memory()
before = faults()
for _ in range(4):
    use_memory()
print(faults() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other C libraries")
def test_memory_that_is_freed_is_kept_and_not_mapped_anew() -> None:
    def faults(keep: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", TASK, keep], check=True, capture_output=True, text=True
        )
        return int(done.stdout)

    # 600 huge pages at the least, were the system to map such.
    assert faults("keep") < 100 < 500 < faults("leave")
