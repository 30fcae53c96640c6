"""Looking for what a client has to show to prove control of a name (mode `verify`), one module per method."""

from acmehub.validation.errors import ValidationFailed
from acmehub.validation.validator import Validator

__all__ = ["ValidationFailed", "Validator"]
