"""Looking for what a client has to show to prove control of a name (mode `verify`), one module per method."""

from acmehub.validation.validator import Prover
from acmehub.validation.errors import Unproven

__all__ = ["Prover", "Unproven"]
