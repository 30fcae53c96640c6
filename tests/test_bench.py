"""What the bench makes of its measurements; a short real run of each kind is part of `make test` too."""

import json
from pathlib import Path

import pytest

from bench import proxied
from bench.kills import Kill
from bench.proxied import Figures, median, ratios
from tests.servers.bind import NAMED
from tests.servers.pebble import PROGRAM
from tests.servers.programs import need

GOOD = Figures(cpu=10, with_rest=12, per_s=50, p50=100, p99=200, over=80, mib=70, lost=0, extra=0, txt=0)


def test_a_median_hides_no_loss() -> None:
    rows = [GOOD, GOOD._replace(cpu=30, lost=1), GOOD._replace(cpu=20, extra=-1, txt=2)]
    found = median(rows)
    assert found.cpu == 20
    assert (found.lost, found.extra, found.txt) == (1, -1, 2)
    assert not found.flawless
    assert GOOD.flawless


def test_ratios_are_of_rounds_and_not_of_medians() -> None:
    ours = [GOOD, GOOD._replace(cpu=40), GOOD._replace(cpu=90)]
    base = [GOOD._replace(cpu=20), GOOD._replace(cpu=100), GOOD._replace(cpu=100)]
    assert ratios(ours, base)["cpu"] == (0.5, 0.4, 0.9)


@pytest.mark.parametrize("flaw", ["lost", "extra", "left"])
def test_a_kill_with_a_flaw_is_not_flawless(flaw: str) -> None:
    kill = Kill(txt=3, lost=0, extra=0, left=0, slowest=1.0)
    assert kill.flawless
    assert not kill._replace(**{flaw: 1}).flawless


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_short_run_with_a_kill_finds_every_order_and_no_txt_record(tmp_path: Path) -> None:
    need(PROGRAM, NAMED)
    written = tmp_path / "found.json"
    options = ["--clients", "2", "--orders", "4", "--rounds", "1", "--no-direct", "--kills", "1"]
    assert proxied.main([*options, "--json", str(written)]) == 0
    found = json.loads(written.read_text())
    assert found["medians"][proxied.OURS]["2"]["cpu"] > 0
    (kill,) = found["kills"]
    assert kill["txt"] > 0
