"""What a hub does when nothing is asked of it: next to nothing."""

import email.utils
import time
import urllib.request
from pathlib import Path

from acmehub.testing.hub_process import HubProcess

SECONDS = 3.0
SETTLING_SECONDS = 2.0  # until what a start leaves behind is done
MOST_WAKEUPS = 3.0  # a second; SQLite is asked twice a second whether another process has written


def wakeups(pid: int) -> int:
    """How often threads of this process have waited for something and were woken."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((item / "status").read_text().split("\nvoluntary_ctxt_switches:")[1].split()[0]) for item in threads)


def test_an_idle_hub_wakes_a_few_times_a_second_and_its_date_is_right_all_the_same(tmp_path: Path) -> None:
    with HubProcess(tmp_path, config='[tls]\nmode = "off"') as hub:
        time.sleep(SETTLING_SECONDS)
        begun, before = time.monotonic(), wakeups(hub.pid)
        time.sleep(SECONDS)
        assert (wakeups(hub.pid) - before) / (time.monotonic() - begun) <= MOST_WAKEUPS
        with urllib.request.urlopen(f"http://127.0.0.1:{hub.port}/readyz", timeout=20) as answer:
            sent = email.utils.parsedate_to_datetime(answer.headers["date"])
        assert abs(sent.timestamp() - time.time()) < SETTLING_SECONDS
