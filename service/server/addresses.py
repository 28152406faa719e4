"""The addresses on which the service listens."""

import socket
import sys
from contextlib import suppress

from service.config import EVERY_ADDRESS


def address_of(host: str) -> str:
    """Return the address to bind for the setting HOST.

    Of every address, it is the wildcard of IPv6 if its sockets also accept IPv4, else of IPv4.
    """
    if host != EVERY_ADDRESS:
        return host
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        if not probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            return "::"
    return "0.0.0.0"  # noqa: S104  # a container must be reachable from outside


def refuse_taken(address: str, port: int) -> None:
    """Exit with one line on standard error if no server can listen there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # As servers do: connections of the server before do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        sys.exit(
            f"Error: The service cannot listen on port {port} of {address} ({error.strerror}):"
            " set another PORT or HOST"
        )
