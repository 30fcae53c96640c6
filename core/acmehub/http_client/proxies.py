"""The proxies that the environment names: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in either case."""

import ipaddress
from urllib.request import getproxies, proxy_bypass

from acmehub.http_client.messages import HttpError
from acmehub.rules.urls import UrlOrigin

_SCHEMES = ("http", "https")


def environment_proxy(place: UrlOrigin) -> str:
    """The URL of the proxy for requests to a place; empty when they go there directly. Raises `HttpError`.

    NO_PROXY has names (with all names below them), addresses, networks, each with or without a port, or `*`.
    """
    found = getproxies()
    proxy = found.get(place.scheme) or found.get("all", "")
    if not proxy or _is_excepted(place, found.get("no", "")):
        return ""
    scheme, mark, _rest = proxy.partition("://")
    if not mark:
        return f"http://{proxy}"
    if scheme.lower() not in _SCHEMES:
        raise HttpError(f"the environment names a proxy with {scheme}://, but only http:// and https:// are supported")
    return proxy


def _is_excepted(place: UrlOrigin, exceptions: str) -> bool:
    try:
        address = ipaddress.ip_address(place.host.strip("[]"))
    except ValueError:
        return bool(proxy_bypass(f"{place.host}:{place.port}"))
    for item in exceptions.replace(" ", ",").split(","):
        network, _, port = item.partition("]:") if item.startswith("[") else (item, "", "")
        if item.count(":") == 1:
            network, _, port = item.partition(":")
        if port and port != str(place.port):
            continue
        try:
            if item == "*" or address in ipaddress.ip_network(network.strip("[]"), strict=False):
                return True
        except ValueError:  # a name
            continue
    return False
