"""How accelerate is started, with what the launcher said where the arguments say nothing, and how a training is told to stop."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import time

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, DistributedType, ProjectConfiguration, parse_flag_from_env

from training.arguments import TrainingError, launch_command

# Where DistributedDataParallel holds the last reference to a process group, freeing it can wait for ever: its threads need
# the interpreter that waits for them. So another reference stays.
_process_groups: list[dist.ProcessGroup] = []
# Signals this close together are one: a terminal's Ctrl-C reaches a process directly and through its launcher.
_ONE_SIGNAL_S = 2.0


def is_resumed(args: argparse.Namespace) -> bool:
    """Whether the run goes on: asked for, or started again by torchrun after a process was lost."""
    return args.resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)) > 0


def is_main_process() -> bool:
    """Whether this is the one that speaks, as launchers say before there is an accelerator."""
    return os.environ.get("RANK", "0") == "0"


def n_processes() -> int:
    """How many processes a launcher has started, as launchers say before there is an accelerator."""
    return int(os.environ.get("WORLD_SIZE", 1))


def _on_cpu() -> bool:
    """Several processes without GPUs of their own share the CPU, which accelerate lets them only when told."""
    if torch.cuda.is_available():
        return parse_flag_from_env("ACCELERATE_USE_CPU")
    return "LOCAL_RANK" in os.environ or not torch.backends.mps.is_available()


def check_precision(args: argparse.Namespace) -> str:
    """What the arguments say, else the launcher."""
    precision = args.mixed_precision or os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision == "fp16" and _on_cpu():
        raise TrainingError("fp16 is for GPUs; on a CPU use --mixed-precision bf16, or no")
    return precision


def start_accelerator(args: argparse.Namespace) -> Accelerator:
    """With what the launcher said where the arguments say nothing."""
    _keep_freed_memory()
    _meet_anew()
    accelerator = Accelerator(
        cpu=_on_cpu(),
        mixed_precision=check_precision(args),
        dynamo_backend="no",
        log_with=None if args.tracker == "none" else args.tracker,
        project_config=ProjectConfiguration(str(args.output_dir), str(args.output_dir / "logs")),
        dataloader_config=DataLoaderConfiguration(split_batches=True, even_batches=False, non_blocking=torch.cuda.is_available()),
    )
    if dist.is_initialized() and dist.group.WORLD is not None:
        _process_groups.append(dist.group.WORLD)
    if args.gradient_accumulation_steps:
        accelerator.gradient_accumulation_steps = args.gradient_accumulation_steps
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise TrainingError(f"the models fit every GPU whole: use multi-GPU training, not {accelerator.distributed_type.value}")
    return accelerator


def what_runs(accelerator: Accelerator) -> str:
    """In words, how many processes there are, on what and how precise; and what to do where these are fewer than asked for."""
    n_processes, kind = accelerator.num_processes, accelerator.device.type
    precision = accelerator.mixed_precision
    text = f"training on {n_processes} process{'es' * (n_processes > 1)} ({kind}), mixed precision: {precision}"
    if n_processes == 1 and kind == "cpu" and "ACCELERATE_MIXED_PRECISION" in os.environ:
        text += f"\n`accelerate launch` starts one process on a CPU; this starts several:\n  {launch_command(2)}"
    if os.environ.get("ACCELERATE_DYNAMO_BACKEND", "NO") != "NO":
        text += "\nnothing is compiled: torch.compile made these models slower on a CPU and was not tried elsewhere"
    return text


class StopSignals:
    """SIGTERM and SIGINT, while it lasts, are remembered until a step is done; a second one a while later stops at once.

    Attributes:
        number: of the signal that came, 0 for none.
    """

    def __init__(self) -> None:
        self.number, self._came_at = 0, 0.0

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if not self.number:
            self.number, self._came_at = number, now
        elif now - self._came_at > _ONE_SIGNAL_S:
            raise KeyboardInterrupt


def _meet_anew() -> None:
    """After an elastic restart, meet at another port: the launcher's store still has the addresses of the lost processes."""
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    if attempt and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
        os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + attempt)


def _keep_freed_memory() -> None:
    """Have the C library keep large blocks that are freed, instead of asking the system for zeroed pages each step."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError, OSError):  # not glibc
        return
    for option, value in ((-3, 2**30), (-1, 2**31 - 1), (-2, 2**26)):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
        mallopt(option, value)
