"""Processor cores, memory and GPUs."""

from __future__ import annotations

import os

from indian_tune.checkup.check import CheckResult, Level, gib
from indian_tune.engines.devices import cores, gpu_count
from indian_tune.problems.machine import memory
from indian_tune.text import counted

# What the process of one worker takes, with torch loaded and a small data set.
WORKER_BYTES = 600 * 2**20
# Of a GPU: less than this is what other programs have left of it.
SCARCE = 0.5


def check_hardware() -> list[CheckResult]:
    """Check the processor, the memory and every GPU."""
    return [_check_cores(), _check_memory(), *_check_gpus()]


def _check_cores() -> CheckResult:
    usable, present = cores(), os.cpu_count() or 1
    text = counted(usable, "core")
    if usable < present:
        text += f" of {present} (the limit of this process)"
    return CheckResult("processor", Level.OK, text)


def _check_memory() -> CheckResult:
    sizes = memory()
    if sizes is None:
        return CheckResult("memory", Level.OK, "the system does not report its size")
    free, total = sizes
    text = f"{gib(free)} free of {gib(total)}"
    if free < WORKER_BYTES:
        return CheckResult(
            "memory",
            Level.WARN,
            f"{text}; a worker needs about {gib(WORKER_BYTES)}",
            "stop other programs, or use fewer --workers",
        )
    return CheckResult("memory", Level.OK, text)


def _check_gpus() -> list[CheckResult]:
    try:
        import torch
    except Exception:  # noqa: BLE001 - told of torch itself
        return []
    seen = gpu_count()
    if not torch.cuda.is_available():
        if not seen:
            return [CheckResult("GPU", Level.OK, "none: runs are trained on the CPU")]
        built = torch.version.cuda
        why = (
            "torch is built without CUDA"
            if built is None
            else f"torch with CUDA {built} finds none"
        )
        return [
            CheckResult(
                "GPU",
                Level.WARN,
                f"{seen} present, but {why}: a search fails unless it has --devices cpu",
                "install a torch build for the driver version that `nvidia-smi` shows",
            )
        ]
    shown = torch.cuda.device_count()
    checks = [_check_gpu(number) for number in range(shown)]
    if seen > shown:
        # Of slices (MIG), CUDA shows a process the first one alone.
        text = f"{counted(seen, 'device')} by `nvidia-smi --list-gpus`, {shown} of them checked"
        checks.append(CheckResult("GPUs", Level.OK, text))
    if any(check.level is Level.FAIL for check in checks):
        return checks
    return [*checks, _check_kernels()]


def _check_kernels() -> CheckResult:
    from indian_tune.optim.kernel_choice import SWITCH, launch_fault

    if os.environ.get(SWITCH) == "torch":
        return CheckResult("kernels", Level.OK, f"those of torch, as {SWITCH} says")
    fault = launch_fault()
    if fault is None:
        return _check_values()
    return CheckResult(
        "kernels",
        Level.WARN,
        f"Triton cannot start its kernels ({fault}): packed runs use the slower operations of "
        "torch",
        "install a C compiler such as gcc",
    )


def _check_values() -> CheckResult:
    import torch

    from indian_tune.optim.kernel_choice import SWITCH
    from indian_tune.training.kernel_check import kernel_fault

    try:
        fault = kernel_fault(torch.device("cuda"))
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        return CheckResult(
            "kernels",
            Level.WARN,
            f"could not be compared with torch: {reason}",
            "check `nvidia-smi`, and stop other programs that use the GPU",
        )
    if fault is None:
        return CheckResult("kernels", Level.OK, "compute what torch computes")
    return CheckResult(
        "kernels",
        Level.WARN,
        f"{fault}: packed runs use the slower operations of torch",
        f"report this, and set {SWITCH}=torch",
    )


def _check_gpu(number: int) -> CheckResult:
    import torch

    from indian_tune.training.device import NO_KERNEL, start_kernel

    name = f"cuda:{number}"
    try:
        kind = torch.cuda.get_device_name(number)
        free, total = torch.cuda.mem_get_info(number)
        start_kernel(name)
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0]
        fix = "check `nvidia-smi`"
        if NO_KERNEL in reason:
            fix = (
                f"install a torch build for it (this one: {', '.join(torch.cuda.get_arch_list())})"
            )
        return CheckResult(
            name, Level.FAIL, f"cannot be used: {reason}", f"{fix}, or exclude it with --devices"
        )
    text = f"{kind}, {gib(free)} free of {gib(total)}, CUDA {torch.version.cuda}"
    if free < SCARCE * total:
        fix = "stop the processes that `nvidia-smi` lists, or choose other GPUs with --devices"
        return CheckResult(name, Level.WARN, text, fix)
    return CheckResult(name, Level.OK, text)
