"""Which addresses may be called: the guard against requests forged towards the inside of the network."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

MAX_URL_LENGTH = 500
SAVE_TIME_LOOKUP_S = 2.0
# More than one organization can keep waiting with names whose servers do not answer.
RESOLVER_THREADS = 128
DEFAULT_PORTS = {"http": 80, "https": 443}

# IPv6 ranges that carry an IPv4 address in their last 32 bits: IPv4-compatible, NAT64 (RFC 6052, RFC 8215).
_IPV4_IN_LAST_BITS = tuple(IPv6Network(network) for network in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))

SocketAddress = tuple[socket.AddressFamily, tuple[str, int]]


class BlockedAddressError(Exception):
    """The name resolves to an address that is not on the public internet."""


def embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a mapped, 6to4 (RFC 3056), Teredo or NAT64 address leads to."""
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if any(address in network for network in _IPV4_IN_LAST_BITS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def is_public_address(text: str) -> bool:
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.is_site_local:
            return False
        inner = embedded_ipv4(address)
        if inner is not None:
            return is_public_address(str(inner))
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


@cache
def _resolver() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")


def resolve(host: str, port: int, *, allow_private: bool, timeout_s: float) -> list[SocketAddress]:
    """Every address of `host`, all of them checked: one private address among public ones blocks the name.

    Raises BlockedAddressError, OSError (unknown name) or TimeoutError.
    """
    found = _literal(host, port) or _looked_up(host, port, timeout_s)
    if not allow_private and not all(is_public_address(to[0]) for _, to in found):
        raise BlockedAddressError
    return found


def _literal(host: str, port: int) -> list[SocketAddress]:
    """An address in its usual form names itself. Other forms (decimal, octal, short) are read by the resolver."""
    try:
        address = ip_address(host)
    except ValueError:
        return []
    return [(socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET, (str(address), port))]


def _looked_up(host: str, port: int, timeout_s: float) -> list[SocketAddress]:
    """The system's resolver knows no deadline, hence the thread."""
    try:
        host.encode("idna")
    except UnicodeError:
        raise OSError("not a host name") from None
    lookup = _resolver().submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    return [(family, (str(to[0]), port)) for family, _, _, _, to in lookup.result(timeout=timeout_s)]


def open_socket(
    host: str, port: int, *, allow_private: bool, connect_by: float, socket_class: type[socket.socket]
) -> socket.socket:
    """Connect to a checked address itself, so that no second lookup can give another. `connect_by` is monotonic.

    Raises BlockedAddressError, TimeoutError or OSError.
    """
    found = resolve(host, port, allow_private=allow_private, timeout_s=_until(connect_by))
    failure: OSError = OSError("no address")
    for tried, (family, to) in enumerate(found):
        connection = socket_class(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(_until(connect_by) / (len(found) - tried))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.connect(to)
        except OSError as error:
            connection.close()
            failure = error
        else:
            connection.settimeout(_until(connect_by))
            return connection
    raise failure


def _until(instant: float) -> float:
    remaining = instant - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


def parse_base_url(url: str, *, with_query: bool = False, longest: int = MAX_URL_LENGTH) -> Url:
    """The parts of an absolute http(s) URL without credentials, fragment and (unless allowed) query. Or ValueError."""
    if len(url) > longest or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError(f"Enter a plain URL of at most {longest} printable ASCII characters.")
    try:
        parts = parse_url(url)
    except LocationParseError:
        raise ValueError("This is not a URL.") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("The URL must start with http:// or https://.")
    if not parts.host:
        raise ValueError("The URL names no host.")
    if parts.auth is not None:
        raise ValueError("The URL must not hold a user name or password.")
    if parts.fragment is not None or (parts.query is not None and not with_query):
        raise ValueError(f"The URL must have no {'' if with_query else 'query and no '}fragment.")
    if parts.port == 0:
        raise ValueError("Port 0 cannot be connected to.")
    return parts


def validate_base_url(url: str, allow_private: bool, *, with_query: bool = False) -> None:
    """For the moment of saving; the connection checks again what it connects to. Raises ValueError.

    A name that cannot be resolved now is accepted: it may exist by the time it is called.
    """
    parts = parse_base_url(url, with_query=with_query)
    if allow_private:
        return
    host = str(parts.host).strip("[]")
    if host.rstrip(".").rpartition(".")[2] in {"localhost", "local", "internal"}:
        raise ValueError("The host is not on the public internet.")
    port = parts.port or DEFAULT_PORTS[str(parts.scheme)]
    try:
        resolve(host, port, allow_private=False, timeout_s=SAVE_TIME_LOOKUP_S)
    except BlockedAddressError:
        raise ValueError("The host is not on the public internet.") from None
    except OSError:
        return
