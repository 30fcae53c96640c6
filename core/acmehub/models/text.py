"""Text from outside, made safe to show."""

import re

# C0, DEL and C1; bidirectional controls; line and paragraph separator; surrogates, which no terminal takes
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""The text with each control character, bidirectional control, line separator and surrogate as `\xNN` or `\uNNNN`.

    The result has no line break, and moves neither the cursor of a terminal nor the order of what is read. All else
    stays as it is, backslashes too.
    """
    return text if text.isprintable() else _CONTROLS.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
