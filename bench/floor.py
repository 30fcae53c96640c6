"""python -m bench.floor: what an order cannot do without, each alone, in microseconds of this machine's CPU.

The least of many tries, so that other work on the machine hardly counts.
"""

import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.acme_client import make_key

TRIES = 2000
REQUESTS = 4  # newOrder, authorization, finalize, certificate
COMMITS = 3


def main() -> int:
    """Measure and print."""
    key = ec.generate_private_key(ec.SECP256R1())
    signature = key.sign(b"signed", ec.ECDSA(hashes.SHA256()))
    names = x509.SubjectAlternativeName([x509.DNSName("n1.load.example")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(names, critical=False)
    request = builder.sign(make_key("ec256"), hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    verify = least(lambda: key.public_key().verify(signature, b"signed", ec.ECDSA(hashes.SHA256())))
    read = least(lambda: x509.load_der_x509_csr(request).is_signature_valid)
    sign = least(lambda: key.sign(b"signed", ec.ECDSA(hashes.SHA256())))
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "floor.db")) as database:
        database.isolation_level = None
        for text in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE t (id INTEGER, v TEXT)"):
            database.execute(text)
        commit = least(lambda: database.execute("INSERT INTO t VALUES (1, 'v')"))
    rows = [
        ("checking a signature (ES256)", verify, REQUESTS + 1),
        ("reading a CSR and checking its signature", read, 1),
        ("signing", sign, 1),
        ("a commit in SQLite, synchronous=FULL", commit, COMMITS),
    ]
    for what, each, times in rows:
        print(f"{what:44} {each:7.1f} us x {times}")
    print(f"{'an order that the hub signs, of these':44} {sum(each * times for _, each, times in rows) / 1000:7.2f} ms")
    return 0


def least(work: Callable[[], object]) -> float:
    """The least microseconds of CPU that `work` needs."""
    found = []
    for _ in range(TRIES):
        begin = time.process_time_ns()
        work()
        found.append(time.process_time_ns() - begin)
    return min(found) / 1000


if __name__ == "__main__":
    sys.exit(main())
