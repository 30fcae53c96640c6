"""The error of the configuration."""


class ConfigError(Exception):
    """The configuration is not valid; the message names the place (file, line, key or variable) and what to do."""
