# SPDX-License-Identifier: MIT
"""
What systemd is told; see C{sd_notify(3)}.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket


class Notify:
    """
    Tells whoever started us how we are, if he wants to know.

    @ivar watchdog: seconds within which he wants to hear from us; 0 if he does not.
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
        Say something: C{READY=1}, C{STATUS="text"}.  Nothing is said twice, and nobody
        is waited for.
        """
        if not self._to:
            return
        text = "\n".join(f"{key}={value}" for key, value in values.items())
        with socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            try:
                sender.sendto(text.encode(), self._to)
            except OSError:  # he is gone; there is nobody to tell
                pass

    def reloading(self) -> None:
        """
        Say that a reload begins; C{READY} ends it.
        """
        self(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
