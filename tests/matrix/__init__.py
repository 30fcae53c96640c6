"""The client matrix: real ACME clients against one hub in front of Pebble and BIND, at three upstream speeds.

`python -m tests.matrix --help`. A client is a `contract.Client` in the `CLIENTS` of a module named in `registry`; each
of its ways gets certificates on a `device.Device`, which verifies them against Pebble's root.
"""
