"""Looking for what a client has to show to prove control of a name (mode `verify`), one module per method."""

from acmehub.proofs.prover import Prover
from acmehub.proofs.unproven import Unproven

__all__ = ["Prover", "Unproven"]
