# SPDX-License-Identifier: MIT
"""
Notification of the service manager; see C{sd_notify(3)}.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket


class Notify:
    """
    A sender of state notifications to the service manager, if there is one.

    @ivar watchdog: the watchdog timeout in seconds; 0 if the watchdog is off.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._to = environment.get("NOTIFY_SOCKET", "")
        if self._to.startswith("@"):  # the abstract namespace
            self._to = "\0" + self._to[1:]
        try:
            self.watchdog = int(environment.get("WATCHDOG_USEC", "0")) / 1e6
        except ValueError:
            self.watchdog = 0.0

    def __call__(self, **values: object) -> None:
        """
        Send assignments such as C{READY=1} or C{STATUS="text"}.  Never blocks; a notification
        that cannot be sent is lost.
        """
        if not self._to:
            return
        text = "\n".join(f"{key}={value}" for key, value in values.items())
        with socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(text.encode(), self._to)
            except OSError:  # the service manager does not read, or is gone
                pass

    def reloading(self) -> None:
        """
        Announce a reload, which the next C{READY} ends.
        """
        self(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
