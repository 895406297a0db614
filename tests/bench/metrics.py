# SPDX-License-Identifier: MIT
"""
How each metric is called and written.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from attrs import frozen

from tests.bench.statistic import Spread


@frozen
class Metric:
    """
    @ivar title: with its unit.
    @ivar form: of a value.
    @ivar rises: whether more of it is better.
    """

    title: str
    form: str = "{:,.0f}"
    rises: bool = False

    def text(self, values: Spread) -> str:
        """
        @return: the median, and the least and the most in brackets.
        """
        middle, least, most = (
            self.form.format(one) for one in (values.middle, values.least, values.most)
        )
        return f"{middle} ({least} – {most})"


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "requests_per_s": Metric("requests/s", rises=True),
        "mb_per_s": Metric("MB/s", "{:,.1f}", rises=True),
        "p50_us": Metric("p50, µs"),
        "p99_us": Metric("p99, µs"),
        "p999_us": Metric("p99.9, µs"),
        "machine_us": Metric("CPU of machine, µs/request"),
        "front_us": Metric("CPU of front-end's processes, µs/request"),
        "fe_bytes": Metric("bytes front-end sent/delivered", "{:.2%}"),
        "fe_bytes_in": Metric("bytes front-end received/delivered", "{:.2%}"),
        "fe_packets": Metric("packets front-end sent/request", "{:,.1f}"),
        "fe_packets_in": Metric("packets front-end received/request", "{:,.1f}"),
        "kept": Metric("rate kept", "{:.1%}", rises=True),
        "before_per_s": Metric("requests/s before", rises=True),
        "flows_before": Metric("idle flows before"),
        "flows": Metric("idle flows"),
        "octets_per_flow": Metric("kernel memory, bytes/flow"),
        "hits": Metric("hit ratio", "{:.1%}", rises=True),
        "store_reads_per_s": Metric("reads of the store/s"),
    }
)
