"""Processes that do one thing at the same moment."""

import subprocess
import sys


def race(count: int, imports: str, expression: str) -> list[str]:
    """Start `count` processes, wait until each has done its imports, let all evaluate `expression` at once; outputs."""
    program = f"{imports}\nprint('ready', flush=True)\ninput()\nprint({expression})"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ended = [process.communicate(timeout=120) for process in running]
    assert all(not errors for _, errors in ended), ended
    return [output.strip() for output, _ in ended]
