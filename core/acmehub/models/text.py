"""Text from outside, made safe to show."""

import json
import re

import msgspec

# C0, DEL and C1; bidirectional controls; line and paragraph separator; surrogates, which no terminal takes
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

_IN_ENCODED = re.compile(_CONTROLS.pattern.replace(r"\x00-\x1f", r"\x00-\x09\x0b-\x1f"))  # its line breaks are layout
_SURROGATES = re.compile(r"[\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""The text with each control character, bidirectional control, line separator and surrogate as `\xNN` or `\uNNNN`.

    The result has no line break, and moves neither the cursor of a terminal nor the order of what is read. All else
    stays as it is, backslashes too.
    """
    return text if text.isprintable() else _CONTROLS.sub(_escaped, text)


def escape_encoded(text: str) -> str:
    r"""JSON or TOML with the same characters as `\uNNNN`, which both read back; there they stand in strings only."""
    return _IN_ENCODED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def json_line(item: object) -> str:
    """An object as one line of JSON that any terminal can show; what JSON has no form for becomes text."""
    try:
        text = msgspec.json.encode(item, enc_hook=str).decode()
    except UnicodeEncodeError:  # a surrogate, which strict readers of JSON refuse even as `\uNNNN`: it becomes text
        plain = json.dumps(msgspec.to_builtins(item, enc_hook=str, str_keys=True), ensure_ascii=False)
        return escape_encoded(_SURROGATES.sub(lambda found: f"\\\\u{ord(found[0]):04x}", plain))
    return text if text.isascii() and "\x7f" not in text else escape_encoded(text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
