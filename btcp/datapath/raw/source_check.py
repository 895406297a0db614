# SPDX-License-Identifier: MIT
"""
Strict source checks (RFC 3704), of which the TAP device has to be exempt.

What clients sent reaches the local TCP through the TAP device, where no route leads back to them.
The kernel checks a packet by the stricter of two settings: C{rp_filter} of C{all} devices and that
of its own.  So strictness for all is turned into strictness of each other device, which is the same
for every packet of the host but ours.
"""

from __future__ import annotations

from pathlib import Path

from btcp.datapath.interface import DatapathError, Repair

_SETTINGS = Path("/proc/sys/net/ipv4/conf")
_OFF, _STRICT = "0", "1"


class SourceCheck:
    """
    The host's source check, from the first L{verify} that finds it strict to L{restore}.
    """

    def __init__(self, exempt: str, settings: Path = _SETTINGS) -> None:
        """
        @param exempt: the name of the TAP device.
        """
        self._exempt = exempt
        self._settings = settings
        self._changed: list[Path] = []

    def verify(self) -> list[Repair]:
        """
        Exempt the TAP device, unless it is.

        @raise DatapathError: if the host does not let us.
        """
        every = self._settings / "all" / "rp_filter"
        try:
            if not every.exists() or every.read_text().strip() != _STRICT:
                return []
            # New devices get what "default" has.
            others = self._settings.glob("*/rp_filter")
            for path in others:
                if path.parent.name not in ("all", self._exempt):
                    self._make_strict(path)
            every.write_text(_OFF)
        except OSError as problem:
            raise DatapathError(
                "net.ipv4.conf.all.rp_filter is 1 (strict), so the local TCP does not see"
                f" handed-off connections, and it cannot be changed: {problem.strerror}"
            ) from problem
        why = "net.ipv4.conf.all.rp_filter was 1 (strict): moved to each other device"
        return [Repair("sysctl", why)]

    def _make_strict(self, path: Path) -> None:
        try:
            if path.read_text().strip() == _OFF:
                path.write_text(_STRICT)
                self._changed.append(path)
        except FileNotFoundError:  # the device has just gone
            pass

    def restore(self) -> None:
        """
        Be strict for all devices again, unless the setting was changed meanwhile.
        """
        every = self._settings / "all" / "rp_filter"
        try:
            if self._changed and every.read_text().strip() == _OFF:
                every.write_text(_STRICT)
                for path in self._changed:
                    if path.exists():
                        path.write_text(_OFF)
        except OSError:  # the host is as strict as before in any case
            pass
        self._changed.clear()
