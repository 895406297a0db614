# SPDX-License-Identifier: MIT
"""
Tests for what of L{tests.bench} needs no lab.
"""

from __future__ import annotations

import json
import sysconfig
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import btcp
from tests.bench import counters, fill, latency, profile, spoof, wrk
from tests.bench.baseline import agreement, falls
from tests.bench.locality import MAP, ROUND_ROBIN, ways
from tests.bench.markdown import END, START, page, rewritten
from tests.bench.ratios import flat
from tests.bench.result import SCHEMA, Daemon, Outcome, Part, Result, Run, dumped, loaded
from tests.bench.statistic import Spread, noise, percentile, spread
from tests.bench.systems import MODES, PEERS, SYSTEMS
from tests.bench.wrk import Load

PRIMARY = {"short": "requests_per_s", "latency": "p50_us"}


def rated(*rates: float, metric: str = "requests_per_s") -> Outcome:
    """
    @return: an outcome with a round for each rate.
    """
    return Outcome([Run({metric: rate}) for rate in rates])


FAILED = Outcome([Run({"requests_per_s": 5.0}), Run({"requests_per_s": 5.0}, 3, ["3 x read"])])


class StatisticTests(SynchronousTestCase):
    def test_spread(self) -> None:
        self.assertEqual(spread([3, 1, 2, 9]), Spread(2.5, 1, 9))

    def test_noise_ignores_one_that_is_far(self) -> None:
        self.assertEqual(noise([7]), 0)
        self.assertAlmostEqual(noise([9, 10, 11, 10, 1000]), 1.4826)
        self.assertEqual(noise([10, 10, 10, 10, 1000]), 0)

    def test_percentile(self) -> None:
        values = list(range(1000, 0, -1))
        self.assertEqual([percentile(values, one) for one in (50, 99, 99.9)], [500, 990, 999])
        self.assertEqual(percentile([4], 99.9), 4)


class WrkTests(SynchronousTestCase):
    LOAD = Load(64, 2, close=True)
    SAID = {
        **{"requests": 4000, "octets": 5_000_000, "seconds": 2.0, "p50": 10, "p99": 20, "p999": 30},
        **dict.fromkeys(("connect", "read", "write", "status", "timeout"), 0),
    }

    def parsed(self, load: Load = LOAD, **other: int) -> wrk.Said:
        return wrk.parsed(f"Running 2s test\n{json.dumps({**self.SAID, **other})}\n", load)

    def test_values(self) -> None:
        said = self.parsed()
        self.assertEqual((said.requests, said.octets), (4000, 5_000_000))
        self.assertEqual(said.run.errors, 0)
        self.assertEqual(
            said.run.values,
            {"requests_per_s": 2000, "mb_per_s": 2.5, "p50_us": 10, "p99_us": 20, "p999_us": 30},
        )

    def test_large_objects_count_in_part(self) -> None:
        said = self.parsed(Load(8, 2, size=2_000_000), requests=0)
        self.assertEqual((said.requests, said.run.values["requests_per_s"]), (2.5, 1.25))
        self.assertEqual(said.run.errors, 0)

    def test_errors(self) -> None:
        run = self.parsed(timeout=2, status=1).run
        self.assertEqual((run.errors, run.complaints), (3, ("1 x status", "2 x timeout")))

    def test_no_answers_are_an_error(self) -> None:
        self.assertEqual(self.parsed(requests=0, octets=0).run.errors, 1)

    def test_no_line(self) -> None:
        for output in ("", "unable to connect to 192.0.2.11:80\n", "7\n", '{"requests": 1}\n'):
            said = wrk.parsed(output, self.LOAD)
            self.assertEqual((said.requests, said.run.errors), (0, 1), output)

    def test_command(self) -> None:
        words = wrk.command(self.LOAD, [("192.0.2.1", 80, "/b/1k"), ("192.0.2.2", 81, "/c/1k")])
        self.assertEqual(words[:4], ["wrk", "-t2", "-c64", "-d2s"])
        after = words[words.index("--") + 1 :]
        self.assertEqual(after, ["192.0.2.1", "80", "/b/1k", "192.0.2.2", "81", "/c/1k"])


class OpenLoopTests(SynchronousTestCase):
    def test_samples(self) -> None:
        run = latency.parsed("30\n10\n20\nerrors 0\n")
        self.assertEqual((run.values["p50_us"], run.values["p999_us"], run.errors), (20, 30, 0))

    def test_errors(self) -> None:
        run = latency.parsed("30\nerrors 2\n")
        self.assertEqual((run.errors, run.complaints), (2, ("2 x no answer",)))
        for output in ("", "30\n", "errors 0\n"):
            self.assertEqual(latency.parsed(output).errors, 1, output)


class CounterTests(SynchronousTestCase):
    def test_machine_does_not_count_idleness(self) -> None:
        one = counters.machine_time("cpu  10 20 30 400 500 60 70 8 9 10")
        more = counters.machine_time("cpu  10 20 31 900 900 60 70 8 9 10")
        self.assertAlmostEqual(one / (more - one), 190)

    def test_process_with_an_odd_name(self) -> None:
        rest = " ".join(map(str, range(4, 50)))
        plain = counters.process_time(f"7 (nginx) S {rest}")
        self.assertEqual(counters.process_time(f"7 (a) b (c) S {rest}"), plain)
        self.assertEqual(plain, (14 + 15) * counters.process_time("1 (x) S" + " 0" * 10 + " 1 0"))

    def test_traffic(self) -> None:
        text = "Inter-|\n face |\n  lo: 9 9 9 9 9 9 9 9 9 9\neth0: 1 2 0 0 0 0 0 0 3 4 0 0\n"
        self.assertEqual(counters.traffic(text, "eth0"), counters.Traffic(1, 2, 3, 4))
        self.assertRaises(ValueError, counters.traffic, text, "eth1")


class RatioTests(SynchronousTestCase):
    def test_keys(self) -> None:
        peers = {"direct": rated(10, 30, 20), "nginx": rated(10)}
        self.assertEqual(
            flat({"short": {**peers, "ebpf+cookie": rated(19)}}, PRIMARY),
            {
                "short.ebpf+cookie/direct": 0.95,
                "short.ebpf+cookie/nginx": 1.9,
                "short.direct.errors": 0,
                "short.nginx.errors": 0,
                "short.ebpf+cookie.errors": 0,
            },
        )

    def test_errors_instead_of_a_figure(self) -> None:
        found = flat({"short": {"direct": rated(10), "ebpf+cookie": FAILED}}, PRIMARY)
        self.assertIsNone(found["short.ebpf+cookie/direct"])
        self.assertEqual(found["short.ebpf+cookie.errors"], 3)

    def test_peer_with_errors(self) -> None:
        found = flat({"short": {"nginx": FAILED, "ebpf+cookie": rated(10)}}, PRIMARY)
        self.assertIsNone(found["short.ebpf+cookie/nginx"])

    def test_bytes_of_the_front_end(self) -> None:
        runs = [Run({"requests_per_s": 1.0, "fe_bytes": share}) for share in (0.02, 0.01, 0.03)]
        found = flat({"short": {"direct": rated(1), "raw+replay": Outcome(runs)}}, PRIMARY)
        self.assertEqual(found["short.raw+replay.fe_bytes"], 0.02)

    def test_added_latency(self) -> None:
        runs = {"direct": (100.0, 300.0), "ebpf+cookie": (150.0, 700.0)}
        outcomes = {
            name: Outcome([Run({"p50_us": low, "p99_us": high})])
            for name, (low, high) in runs.items()
        }
        found = flat({"latency": outcomes}, PRIMARY)
        self.assertEqual(found["latency.ebpf+cookie/direct"], 1.5)
        self.assertEqual(found["latency.ebpf+cookie.added_p50_us"], 50)
        self.assertEqual(found["latency.ebpf+cookie.added_p99_us"], 400)

    def test_policies_have_the_first_for_a_peer(self) -> None:
        works = {"locality": {ROUND_ROBIN: rated(10), MAP: rated(25)}}
        found = flat(works, {"locality": "requests_per_s"})
        self.assertEqual(found["locality.map/round-robin"], 2.5)


class ResultTests(SynchronousTestCase):
    def setUp(self) -> None:
        works = {"short": {"direct": rated(10, 12), "nginx": FAILED}}
        self.result = Result({"date": "2026-01-01", "rounds": 2}, works, [("p", "IPv4", 5)])
        self.path = Path(self.mktemp())

    def test_there_and_back(self) -> None:
        self.path.write_text(dumped(self.result, {"short.direct.errors": 0}))
        self.assertEqual(loaded(self.path), self.result)

    def test_document(self) -> None:
        document = json.loads(dumped(self.result, {"x": None}))
        self.assertEqual(document["schema"], SCHEMA)
        self.assertEqual(document["ratios"], {"x": None})
        direct, nginx = document["works"]["short"].values()
        self.assertEqual(direct["metrics"]["requests_per_s"], {"median": 11, "min": 10, "max": 12})
        self.assertEqual(nginx["metrics"], {})
        self.assertEqual((nginx["errors"], nginx["complaints"]), (3, ["3 x read"]))

    def test_another_schema(self) -> None:
        for text in ('{"schema": 0}', "[]", "no JSON"):
            self.path.write_text(text)
            self.assertRaises(ValueError, loaded, self.path)


class ProfileTests(SynchronousTestCase):
    def test_shared(self) -> None:
        """
        What a library does is for the last module of BTCP that called, if any did; what is
        spent in waiting is nobody's.
        """
        ours = Path(btcp.__file__).parent
        library = f"{sysconfig.get_path('purelib')}/h11/_readers.py"
        run, head = f"run ({library}:1)", f"feed ({ours}/content/http.py:5)"
        folded = [
            f"{run};{head};read ({library}:7) 30",
            f"{run};{head} 10",
            f"{run};put ({ours}/control/link.py:9);{head} 20",
            f"{run};parse ({library}:3) 40",
            f"{run};EPollReactor.doPoll ({library}:4) 1000",
            "no stack at all",
            "",
        ]
        parts = list(profile.shared("\n".join(folded), 200))
        self.assertEqual(
            parts,
            [Part("btcp/content/http.py", 60, 60), Part("h11/_readers.py", 0, 80)],
        )

    def test_nothing_seen(self) -> None:
        self.assertEqual(list(profile.shared("", 200)), [])

    def test_document(self) -> None:
        """
        There and back, and for people: what is not among the dearest is one row.
        """
        parts = [Part(f"btcp/{number}.py", 20.0 - number, 1.0) for number in range(15)]
        about = {"date": "2026-01-01", "tree": "x", "rounds": 1, "versions": {"wrk": "4"}}
        machine = {"kernel": "Linux", "processors": 2, "processor": "x", "memory_mb": 1}
        about["machine"] = {**machine, "busy_before": 0.0}
        daemon = Daemon("front-end", 1000, 300.0, 100.0, parts)
        result = Result(about, {}, [], (daemon,))
        path = Path(self.mktemp())
        path.write_text(dumped(result, {}))
        self.assertEqual(loaded(path), result)
        text = page(result, [], "")
        self.assertIn("front-end's daemon: 400 µs, of which 100 in system calls, over 1,000", text)
        self.assertIn("| `btcp/11.py` | 9 | 1 |\n| 3 others | 21 | 3 |\n", text + "\n")


class BaselineTests(SynchronousTestCase):
    def falls(self, old: Outcome, new: Outcome) -> list[str]:
        still = rated(100, 100, 100)
        before = {"short": {"direct": still, "raw+replay": old}}
        after = {"short": {"direct": still, "raw+replay": new}, "latency": {"direct": still}}
        return [one.key for one in falls(before, after, PRIMARY)]

    def test_fall(self) -> None:
        fell = self.falls(rated(50, 51, 49), rated(40, 41, 39))
        self.assertEqual(fell, ["short.raw+replay/direct"])

    def test_within_noise(self) -> None:
        self.assertEqual(self.falls(rated(50, 60, 40), rated(40, 50, 30)), [])

    def test_rise(self) -> None:
        self.assertEqual(self.falls(rated(50, 51, 49), rated(60, 61, 59)), [])

    def test_errors_are_a_fall(self) -> None:
        self.assertEqual(self.falls(rated(5), FAILED), ["short.raw+replay/direct"])
        self.assertEqual(self.falls(FAILED, rated(5)), [])

    def test_latency_falls_upwards(self) -> None:
        def of(value: float) -> dict[str, dict[str, Outcome]]:
            mode = rated(value, metric="p50_us")
            return {"latency": {"direct": rated(1, metric="p50_us"), "raw+replay": mode}}

        self.assertEqual(len(list(falls(of(2), of(3), PRIMARY))), 1)
        self.assertEqual(list(falls(of(3), of(2), PRIMARY)), [])

    def test_agreement(self) -> None:
        before = {"short": {"direct": rated(10), "raw+replay": rated(4)}}
        after = {"short": {"direct": rated(10), "raw+replay": rated(5), "new": rated(1)}}
        self.assertEqual(agreement(before, after, PRIMARY), {"short.raw+replay/direct": 0.25})


class DocumentTests(SynchronousTestCase):
    def test_only_between_the_marks(self) -> None:
        page = f"before\n{START}\nold\n{END}\nafter\n"
        new = rewritten(page, "new")
        self.assertEqual(new, f"before\n{START}\n\nnew\n\n{END}\nafter\n")
        self.assertEqual(rewritten(new, "new"), new)

    def test_beside(self) -> None:
        """
        What is said of an earlier result stands after the ratios.
        """
        machine = {"kernel": "Linux", "processors": 2, "processor": "x", "memory_mb": 1}
        about = {"date": "2026-01-01", "tree": "x", "rounds": 1, "versions": {"wrk": "4"}}
        result = Result({**about, "machine": {**machine, "busy_before": 0.0}}, {})
        self.assertTrue(page(result, [], "", ["### Beside", "", "nothing"]).endswith("\n\nnothing"))
        self.assertNotIn("### Beside", page(result, [], ""))

    def test_no_marks(self) -> None:
        self.assertRaises(ValueError, rewritten, "a page", "new")


class SystemTests(SynchronousTestCase):
    def test_only_direct_connects_to_the_holder(self) -> None:
        found = {system.name: system.target("b", "1k")[0] for system in SYSTEMS}
        self.assertEqual(found.pop("direct"), "192.0.2.12")
        self.assertEqual(set(found.values()), {"192.0.2.11"})

    def test_ports_of_the_peers_are_those_of_their_files(self) -> None:
        for peer in PEERS[1:]:
            file = next(word for word in peer.command if word.startswith("/"))
            self.assertIn(f"192.0.2.11:{peer.port}\n", Path(file).read_text().replace(" re", "\n"))

    def test_ways_of_locality(self) -> None:
        found = ways(MODES[-1])
        self.assertEqual([way.name for way in found[:2]], [ROUND_ROBIN, MAP])
        self.assertEqual(len({way.name for way in found}), len(found))


class SpoofTests(SynchronousTestCase):
    def test_all_are_different_and_nobodys(self) -> None:
        made = list(spoof.packets("192.0.2.11", 80, 1000))
        sources = {(packet[12:16], packet[20:22]) for packet in made}
        self.assertEqual(len(sources), 1000)
        self.assertEqual({source[:3] for source, _ in sources}, {bytes((203, 0, 113))})

    def test_filled_in_flows_are_different(self) -> None:
        keys = {fill.key(number, bytes(6)) for number in range(0, 1_000_000, 997)}
        self.assertEqual(len(keys), len(range(0, 1_000_000, 997)))
        self.assertEqual({len(key) for key in keys}, {12})
