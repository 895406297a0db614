# SPDX-License-Identifier: MIT
"""
The origin of a lab's node: an unmodified nginx, and content that tells nodes apart.

Node C{a} serves C{/a/} and C{/shared/}, each with the files L{SIZES}.  Below
C{/a/upload/} a PUT is stored in C{uploads/} of the node's directory, and a POST is read
to its end and answered with its length.  Every response names the node in C{X-Node}.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable
from pathlib import Path

from attrs import field, frozen

from btcp.lab.network import Network
from btcp.lab.processes import read_pid
from btcp.lab.programs import LabError, run
from btcp.lab.topology import ORIGIN_PORT, SHARED, addresses

# file name -> octets
SIZES = {"1k": 1 << 10, "100k": 100 << 10, "10m": 10 << 20}

CONFIG = """\
user root;
worker_processes 1;
worker_rlimit_nofile 16384;
pid %(home)s/nginx.pid;
error_log %(home)s/error.log;
events { worker_connections 8192; }
http {
    log_format lab escape=json '{"client":"$remote_addr","port":$remote_port,"time":$msec,'
        '"method":"$request_method","uri":"$request_uri","status":"$status",'
        '"sent":$body_bytes_sent,"connection":$connection,"request":$connection_requests}';
    access_log %(home)s/access.log lab;
    client_body_temp_path %(home)s/body;
    proxy_temp_path %(home)s/proxy;
    fastcgi_temp_path %(home)s/fastcgi;
    uwsgi_temp_path %(home)s/uwsgi;
    scgi_temp_path %(home)s/scgi;
    types { text/html html; }
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    large_client_header_buffers 8 32k;
    client_max_body_size 0;
    server {
        listen %(v4)s:%(port)d;
        listen [%(v6)s]:%(port)d;
        root %(home)s/www;
        add_header X-Node %(node)s always;
        location ~ ^/[^/]+/upload/ {
            root %(home)s/uploads;
            dav_methods PUT;
            create_full_put_path on;
            # nginx hands a request on only when it has all of its body
            if ($request_method = POST) { proxy_pass http://unix:%(home)s/length.sock; }
        }
    }
    server {
        listen unix:%(home)s/length.sock;
        access_log off;
        return 200 "$http_content_length\\n";
    }
}
"""
"""
What nginx is told; another template may stand in for it, with the same names in it.
"""


@frozen
class Request:
    """
    What an origin logged of one request, when its answer was complete.

    @ivar client: the address it saw at the other end.
    @ivar port: the port there.
    @ivar time: seconds since the epoch, to the millisecond.
    @ivar sent: octets of the response's body.
    @ivar connection: nginx' number of the connection.
    @ivar request: which request on its connection this was, from 1.
    """

    client: str
    port: int
    time: float
    method: str
    uri: str
    status: int = field(converter=int)  # nginx writes 000 where it sent none
    sent: int
    connection: int
    request: int


def write_content(directory: Path, nodes: Iterable[str]) -> None:
    """
    Make the files of all nodes: C{a/1k}, C{shared/10m}, C{b/index.html} and so on.

    What is in them looks random, differs from file to file and is the same every time.
    """
    for part in (*nodes, SHARED):
        (directory / part).mkdir(parents=True, exist_ok=True)
        (directory / part / "index.html").write_text(f"<!doctype html><title>{part}</title>\n")
        for name, size in SIZES.items():
            (directory / part / name).write_bytes(random.Random(f"{part}/{name}").randbytes(size))


def start(network: Network, node: str, home: Path, content: Path, template: str = CONFIG) -> None:
    """
    Start nginx in the node's namespace; it listens when this returns.

    @param home: the node's directory, which gets configuration, logs and pid file.
    @param content: where L{write_content} wrote.
    @param template: such as L{CONFIG}.
    @raise LabError: nginx said no.
    """
    for directory in ("www", "uploads"):
        (home / directory).mkdir(exist_ok=True)
    for part in (node, SHARED):
        (home / "www" / part).symlink_to(content / part)
    v4, v6 = addresses(node)
    config = home / "nginx.conf"
    values = {"home": home, "node": node, "v4": v4, "v6": v6, "port": ORIGIN_PORT}
    config.write_text(template % values)
    errors = str(home / "error.log")
    run(network.inside(node, ["nginx", "-p", str(home), "-e", errors, "-c", str(config)]))
    _await_pid(home / "nginx.pid")


def _await_pid(path: Path) -> None:
    deadline = time.monotonic() + 5
    # The process that was started returns before the one it forked has written its pid.
    while read_pid(path) is None:
        if time.monotonic() > deadline:
            raise LabError(f"nginx did not write {path}")
        time.sleep(0.005)


def requests(home: Path) -> list[Request]:
    """
    What the node's origin has logged, oldest first.
    """
    lines = (home / "access.log").read_text().splitlines()
    return [Request(**json.loads(line)) for line in lines]
