"""`python -m tests.fuzz --minutes 10 jws` (or csr, chain): exit status 1 when there is a finding."""

import argparse
import sys

from tests.fuzz.certificates import CHAIN, CSR
from tests.fuzz.jws import JWS
from tests.fuzz.running import fuzz

TARGETS = {target.name: target for target in (JWS, CSR, CHAIN)}


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first input; a finding names its own")
    options = parser.parse_args()
    report = fuzz(TARGETS[options.target], seconds=60 * options.minutes, first=options.seed)
    print(report)
    return 1 if report.findings else 0


sys.exit(main())
