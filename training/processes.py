"""The processes of one training: how many were asked for, how to start as many, and whether the others still live."""

from __future__ import annotations

import os
import sys
import threading
import time
from datetime import timedelta

from torch.distributed import TCPStore

# Far longer than main-only work takes (features of a large data set); a lost process is noticed by its missing life signs.
COLLECTIVE_TIMEOUT = timedelta(hours=2)
LIFE_SIGN_EVERY_S = 3.0
LOST_AFTER_S = 40.0


def processes_asked_for() -> int:
    """The `--num_processes` of the `accelerate launch` that started this process, else 1: nothing else tells of it.

    On a CPU `accelerate launch` runs one process whatever that option says, unless MPI is set up.
    """
    import psutil

    try:
        words = psutil.Process().parent().cmdline()
    except (psutil.Error, AttributeError):
        return 1
    for position, word in enumerate(words):
        name, _, value = word.replace("-", "_").partition("=")
        if name == "__num_processes":
            value = value or "".join(words[position + 1 : position + 2])
            return int(value) if value.isdigit() else 1
    return 1


def meet_anew() -> None:
    """After an elastic restart, meet at another port: the launcher's store still has the addresses of the lost processes."""
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    if attempt and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
        os.environ["MASTER_PORT"] = str(int(os.environ["MASTER_PORT"]) + attempt)


class LifeSigns:
    """Ends this process with a message when another one gives no sign of life: a collective would wait for it for hours.

    A process that dies closes its connections, which its peers notice at once. One that hangs, or whose host is cut off,
    does not, so every process counts up in the store that all of them share, and watches the others count.
    """

    def __init__(self, rank: int, world_size: int, resume_command: str):
        self.rank, self.resume_command = rank, resume_command
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self._store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=LOST_AFTER_S))
        self._last_seen = {other: time.monotonic() for other in range(world_size) if other != rank}
        self._done = threading.Event()
        for work in (self._show_and_look, self._judge):
            threading.Thread(target=work, daemon=True).start()

    def stop(self) -> None:
        """To be called when all processes are through with what they do together."""
        self._done.set()

    def _show_and_look(self) -> None:
        before: dict[int, bytes] = {}
        count = 0
        while not self._done.wait(LIFE_SIGN_EVERY_S):
            count += 1
            self._store.set(f"life/{self.rank}", f"{os.getpid()} {count}")
            for other in self._last_seen:
                sign = self._store.get(f"life/{other}") if self._store.check([f"life/{other}"]) else None
                if sign != before.get(other):
                    before[other], self._last_seen[other] = sign, time.monotonic()

    def _judge(self) -> None:
        while not self._done.wait(1.0):
            lost = [other for other, moment in self._last_seen.items() if time.monotonic() - moment > LOST_AFTER_S]
            if lost:
                print(
                    f"error: no sign of life from process {', '.join(map(str, lost))} for {LOST_AFTER_S:.0f} s, so process "
                    f"{self.rank} stops too; go on with:\n  {self.resume_command}",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)
