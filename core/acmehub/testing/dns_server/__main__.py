"""The server in a process of its own: `python -m acmehub.testing.dns_server`."""

import argparse
import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import dns.tsig

from acmehub.testing.dns_server.server import DnsServer, tsig_key


def _key(text: str) -> dns.tsig.Key:
    name, algorithm, file = text.split(":", 2)
    return tsig_key(name, algorithm, Path(file).read_text())


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("acmehub.testing.dns_server", description="an authoritative DNS server for tests")
    parser.add_argument("--zone", action="append", required=True, help="a zone to serve; may be repeated")
    parser.add_argument("--address", action="append", help="where to listen (127.0.0.1); repeated: more name servers")
    parser.add_argument("--port", type=int, default=0, help="UDP and TCP port; 0 takes a free one and prints it")
    parser.add_argument("--tsig", action="append", default=[], type=_key, metavar="NAME:ALGORITHM:SECRET-FILE")
    parser.add_argument("--record", action="append", default=[], metavar="'NAME TYPE VALUE'", help="a further record")
    parser.add_argument("--txt-folder", type=Path, help="a folder whose files '<name> <value>' are TXT values")
    return parser.parse_args(argv)


async def _serve(arguments: argparse.Namespace) -> None:
    server = DnsServer(
        arguments.zone,
        addresses=arguments.address or ("127.0.0.1",),
        port=arguments.port,
        keys=arguments.tsig,
        txt_folder=arguments.txt_folder,
    )
    for record in arguments.record:
        name, kind, value = record.split(None, 2)
        server.zones.add(name, kind, value)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with server:
        print(f"serving {', '.join(arguments.zone)} on {', '.join(server.addresses)} port {server.port}", flush=True)
        await stop.wait()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    asyncio.run(_serve(_arguments(argv)))


if __name__ == "__main__":
    main()
