# SPDX-License-Identifier: MIT
"""
Checks of the TCP ports on this host.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from btcp.admin.protocol import SOCKET
from btcp.config import Config
from btcp.doctor.finding import Finding, fail, fine, warn
from btcp.doctor.host import Host


def check_control(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check that the control port is used by the daemon, or free if no daemon runs.
    """
    address, port = config.own.control
    at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    if host.daemon(f"{config.run}/{SOCKET}") is not None:
        problem = host.connect(address, port)
        if problem is None:
            yield fine(f"twistd listens on {at}")
        else:
            yield fail(f"twistd runs but does not listen on {at}: {problem}", "btcp show peers")
        return
    problem = host.listen(address, port)
    if problem is None:
        yield fine(f"{at} is free")
    else:
        yield fail(f"cannot listen on {at}: {problem}", f"ss -ltnp 'sport = :{port}'")


def check_origins(host: Host, config: Config) -> Iterator[Finding]:
    """
    Check that the origins accept connections at all addresses of the node.
    """
    good = []
    for port in sorted({listener.origin for listener in config.listeners}):
        for address in map(str, map(ip_address, config.own.addresses)):
            at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            problem = host.connect(address, port)
            if problem is None:
                good.append(at)
            else:
                yield fail(
                    f"no origin at {at}: {problem}",
                    f"ss -ltn 'sport = :{port}'",
                    "# start it, or let it listen on that address, not on 127.0.0.1 only",
                )
    if good:
        other = any(each.port != each.origin for each in config.listeners)
        hint = "; clients use another port, so redirects must not name it: see troubleshooting.md"
        yield fine(f"origins answer at {', '.join(good)}{hint if other else ''}")


def check_listeners(host: Host, config: Config) -> Iterator[Finding]:
    """
    Warn about local servers that a listener of BTCP shadows.
    """
    hidden = []
    for listener in config.listeners:
        for packed in config.own.addresses if listener.port != listener.origin else ():
            address = str(ip_address(packed))
            held = packed in config.listener_addresses(listener, config.own)
            if held and host.connect(address, listener.port) is None:
                hidden.append(f"{address} port {listener.port}")
    for each in hidden:
        yield warn(
            f"a local server on {each} is shadowed by a listener and gets no clients",
            f"ss -ltnp 'sport = :{each.rpartition(' ')[2]}'",
        )
    if not hidden:
        yield fine("no local server is shadowed by a listener")
