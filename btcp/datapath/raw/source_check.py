# SPDX-License-Identifier: MIT
"""
Exemption of the TAP device from strict reverse path filtering (RFC 3704).

Clients' packets reach the local TCP through the TAP device, which no route to the clients uses.
The kernel applies the stricter of two settings: C{rp_filter} of C{all} and that of the device.  So
the strict setting is moved from C{all} to each other device, which has the same effect on them.
It is not moved back: with C{all} strict, the next daemon could not start.
"""

from __future__ import annotations

from pathlib import Path

from btcp.datapath.interface import DatapathError, Repair

_SETTINGS = Path("/proc/sys/net/ipv4/conf")
_OFF, _STRICT = "0", "1"


class SourceCheck:
    """
    The host's setting.
    """

    def __init__(self, exempt: str, settings: Path = _SETTINGS) -> None:
        """
        @param exempt: the name of the TAP device.
        """
        self._exempt = exempt
        self._settings = settings

    def verify(self) -> list[Repair]:
        """
        Exempt the TAP device, unless it is exempt.

        @raise DatapathError: if the host does not permit it.
        """
        every = self._settings / "all" / "rp_filter"
        try:
            if not every.exists() or every.read_text().strip() != _STRICT:
                return []
            # "default" is included: it is the setting of new devices.
            others = self._settings.glob("*/rp_filter")
            for path in others:
                if path.parent.name not in ("all", self._exempt):
                    self._make_strict(path)
            every.write_text(_OFF)
        except OSError as problem:
            raise DatapathError(
                "net.ipv4.conf.all.rp_filter is 1 (strict), so the kernel drops packets of"
                f" handed-off connections, and it cannot be changed: {problem.strerror}"
            ) from problem
        why = "net.ipv4.conf.all.rp_filter was 1 (strict): moved to each other device"
        return [Repair("sysctl", why)]

    def _make_strict(self, path: Path) -> None:
        try:
            if path.read_text().strip() == _OFF:
                path.write_text(_STRICT)
        except FileNotFoundError:  # the device has just gone
            pass
