"""`python -m tests.fuzz --minutes 10 jws` (or csr, chain, http): exit status 1 when there is a finding."""

import argparse
import sys

from tests.fuzz.certificates import CHAIN, CSR
from tests.fuzz.http import Server
from tests.fuzz.jws import JWS
from tests.fuzz.running import fuzz

TARGETS = {target.name: target for target in (JWS, CSR, CHAIN)}


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", choices=[*TARGETS, "http"])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first input; a finding names its own")
    options = parser.parse_args()
    server = Server() if options.target == "http" else None
    try:
        target = server.target() if server is not None else TARGETS[options.target]
        report = fuzz(target, seconds=60 * options.minutes, first=options.seed)
    finally:
        if server is not None:
            server.close()
    print(report)
    return 1 if report.findings else 0


sys.exit(main())
