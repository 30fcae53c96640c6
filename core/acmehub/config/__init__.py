"""`acmehub.toml`, overridden by `ACMEHUB_…` variables; every key has a safe default."""

from acmehub.config.errors import ConfigError
from acmehub.config.lines import line_of, path_of
from acmehub.config.loading import FILE_NAME, find_config, load_config, located, log_of, warnings_of
from acmehub.config.permissions import is_mounted
from acmehub.config.secret_sources import resolve_text
from acmehub.config.sections import (
    TERMS_OF_HUB,
    Acme,
    Api,
    AuditSection,
    Config,
    Dns,
    Limits,
    Log,
    NotifierSection,
    Section,
    Storage,
    TlsMode,
    Verify,
    Worker,
)

__all__ = [
    "FILE_NAME",
    "TERMS_OF_HUB",
    "Acme",
    "Api",
    "AuditSection",
    "Config",
    "ConfigError",
    "Dns",
    "Limits",
    "Log",
    "NotifierSection",
    "Section",
    "Storage",
    "TlsMode",
    "Verify",
    "Worker",
    "find_config",
    "is_mounted",
    "line_of",
    "load_config",
    "located",
    "log_of",
    "path_of",
    "resolve_text",
    "warnings_of",
]
