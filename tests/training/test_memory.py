from __future__ import annotations

import subprocess
import sys

import pytest

TASK = """
import resource, sys, torch
from indian_tune.training import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    several = [torch.zeros(5_000_000) for _ in range(4)]
    del several
before = faults()
for _ in range(5):
    several = [torch.zeros(5_000_000) for _ in range(4)]
    del several
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other C libraries")
def test_memory_that_is_freed_is_kept_and_not_mapped_anew() -> None:
    def faults(keep: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", TASK, keep], check=True, capture_output=True, text=True
        )
        return int(done.stdout)

    assert faults("keep") < 100 < 1000 < faults("leave")
