"""The loopback's ports, and what answers on them."""

import socket
import urllib.error
import urllib.request

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Never through a proxy: what is asked for is on this machine."""


def http_status(url: str) -> int:
    """The status of a GET; 0 where nothing answers."""
    try:
        with _DIRECT.open(url, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Can a server listen on this port of the loopback, or of another address here, now?"""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def reachable(host: str | None) -> str:
    """What stands in a URL for a server that listens on `host`; None: on the loopback."""
    if host in (None, "", "0.0.0.0", "::"):  # noqa: S104 - on all of them, so on the loopback too
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
