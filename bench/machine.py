"""CPU and memory of processes, read from /proc; waiting for a server that was started."""

import os
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
_PARENT, _CPU, _RSS = 1, slice(11, 15), 21  # fields of /proc/PID/stat behind the command: ppid; utime to cstime; rss


class Usage(NamedTuple):
    """CPU seconds (with those of children already reaped), resident MiB and number of processes."""

    cpu: float
    rss: float
    processes: int


def usage(pids: Iterable[int]) -> Usage:
    """What the process trees below `pids` have used so far."""
    stat = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat[int(entry.name)] = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:  # ended meanwhile
                continue
    tree: set[int] = set()
    todo = list(pids)
    while todo:
        pid = todo.pop()
        tree.add(pid)
        todo += [child for child, fields in stat.items() if int(fields[_PARENT]) == pid and child not in tree]
    alive = [stat[pid] for pid in tree if pid in stat]
    cpu = sum(int(value) for fields in alive for value in fields[_CPU]) / _TICK
    return Usage(cpu, sum(int(fields[_RSS]) for fields in alive) * _PAGE_MIB, len(alive))


def busy_seconds() -> float:
    """CPU seconds of the whole machine since its start, without idle and iowait."""
    values = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = values[:8]
    return (user + nice + system + irq + softirq + steal) / _TICK


def wait_for_port(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait until `process` listens on this port of 127.0.0.1, 20 seconds at most."""
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{process.args!r} does not listen on port {port}") from None
            time.sleep(0.05)
        else:
            return
