"""IP addresses and networks as they come from outside: one spelling each.

An IPv4 address also has a spelling as IPv6 (`::ffff:192.0.2.1`, RFC 4291 section 2.5.5.2); sockets that take both
families use it. Text that is compared or stored goes through here first.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MAPPED_BITS = 96
_KEY_BITS = 64  # what one subscriber of IPv6 has for himself


def parse_address(text: str) -> Address:
    """The address of a text; IPv4 written as IPv6 is IPv4, a zone (`%eth0`) is left out. Raises `ValueError`."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.scope_id is not None:
            return IPv6Address(int(address))
    return address


def parse_network(text: str) -> Network:
    """The network of a text, or of one address; IPv4 written as IPv6 is IPv4. Raises `ValueError`."""
    network = ip_network(text)
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        address = network.network_address.ipv4_mapped
        if address is not None:
            return IPv4Network((address, network.prefixlen - _MAPPED_BITS))
    return network


def address_key(address: str) -> str:
    """What stands for one subscriber in limits and counts: an IPv4 address as it is, of an IPv6 address its /64.

    `address` is a client's address as `client_address` returns it; the key of an unknown one (empty) is empty.
    """
    if ":" not in address:
        return address
    parsed = parse_address(address)
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(IPv6Network((int(parsed) >> _KEY_BITS << _KEY_BITS, _KEY_BITS)))
