"""The one error of the configuration."""


class ConfigError(Exception):
    """The configuration is wrong; the text names the place (file, line, key, or variable) and the cure."""
