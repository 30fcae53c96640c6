"""The hub as validator (mode `verify`): challenges are validated as a CA does it, one module per challenge type."""

from acmehub.validation.errors import ValidationFailed
from acmehub.validation.validator import Validator

__all__ = ["ValidationFailed", "Validator"]
