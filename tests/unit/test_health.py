# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.health.rise_fall}, L{btcp.health.scheduler} and L{btcp.health.build}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from btcp.cluster.ejection import EjectionThreshold
from btcp.cluster.state import Health
from btcp.config import Check, loads
from btcp.health.build import checked_origins, ejection_thresholds
from btcp.health.checks import Origin
from btcp.health.rise_fall import RiseFall
from btcp.health.scheduler import CheckedOrigin, CheckScheduler
from tests.unit.test_config import changed

UP, DOWN, UNCHECKED = Health.UP, Health.DOWN, Health.UNCHECKED
CHECK = Check(kind="tcp", interval=4.0, fast_interval=1.0, timeout=0.5, rise=2, fall=3, jitter=0)


class VerdictTests(SynchronousTestCase):
    """
    What is thought after which checks.
    """

    def after(self, checks: str, rise: int = 2, fall: int = 3) -> RiseFall:
        """
        @param checks: C{+} and C{-}.
        """
        state = RiseFall(rise, fall)
        for check in checks:
            if check == "+":
                state.passed()
            else:
                state.failed("ill")
        return state

    def test_verdicts(self) -> None:
        for checks, health, steady in (
            ("", UNCHECKED, False),
            ("+", UP, True),
            ("-", DOWN, True),
            ("+-", UP, False),
            ("+--", UP, False),
            ("+---", DOWN, True),
            ("+--+--", UP, False),
            ("+--+---", DOWN, True),
            ("-+", DOWN, False),
            ("-+-+", DOWN, False),
            ("-++", UP, True),
            ("+---++---", DOWN, True),
        ):
            state = self.after(checks)
            self.assertEqual((state.health, state.steady), (health, steady), checks)

    def test_one_is_enough(self) -> None:
        self.assertIs(self.after("+-", fall=1).health, DOWN)
        self.assertIs(self.after("+-+", rise=1, fall=1).health, UP)

    def test_why(self) -> None:
        """
        Told as long as it is down, or about to be.
        """
        for checks, why in (("+", ""), ("+-", "ill"), ("+-+", ""), ("-+", "ill"), ("-++", "")):
            self.assertEqual(self.after(checks).why, why, checks)

    def test_forget(self) -> None:
        state = self.after("+--")
        state.reset()
        self.assertEqual(state, RiseFall(2, 3))


class Patient:
    """
    An origin that is as it is told.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[float] = []
        self.cancelled = 0
        self.answer: Callable[[], Deferred[Any]] = lambda: succeed(None)

    def ask(self, reactor: Any, origin: Origin, check: Check) -> Deferred[Any]:
        self.asked.append(self.clock.seconds())
        return self.answer()

    def ill(self) -> None:
        self.answer = lambda: fail(ConnectionRefusedError())

    def well(self) -> None:
        self.answer = lambda: succeed(None)

    def silent(self) -> None:
        self.answer = lambda: Deferred(self._cancel)

    def _cancel(self, _: object) -> None:
        self.cancelled += 1


class ChecksTests(SynchronousTestCase):
    check = CHECK

    def setUp(self) -> None:
        self.clock = Clock()
        self.patients = [Patient(self.clock), Patient(self.clock)]
        self.told: list[tuple[Health, str]] = []
        self.enabled = True
        self.random = 0.5

    def start(self, count: int = 1) -> Patient:
        watched = [
            CheckedOrigin(
                Origin("web", f"192.0.2.{11 + n}", 8080), self.check, self.patients[n].ask
            )
            for n in range(count)
        ]
        self.checks = CheckScheduler(
            self.clock,
            watched,
            lambda: self.enabled,
            lambda health, why: self.told.append((health, why)),
            lambda: self.random,
        )
        self.checks.startService()
        return self.patients[0]

    def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)

    def test_first(self) -> None:
        """
        At once, and it decides.
        """
        self.start()
        self.assertEqual(self.told, [(UP, "")])

    def test_times(self) -> None:
        """
        Seldom while nothing happens, often when something does, at most once at a time.
        """
        patient = self.start()
        self.pass_time(8)
        self.assertEqual(patient.asked, [0, 4, 8])
        patient.ill()
        self.pass_time(10)
        self.assertEqual(patient.asked[3:], [12, 13, 14, 18])
        self.assertIs(self.told[-1][0], DOWN)
        patient.well()
        self.pass_time(9)
        self.assertEqual(patient.asked[7:], [22, 23, 27])
        self.assertEqual(self.told[-1], (UP, ""))

    def test_jitter(self) -> None:
        self.check = evolve(CHECK, jitter=50)
        self.random = 0.0
        patient = self.start()
        self.pass_time(2)
        self.random = 1.0
        self.pass_time(10)
        self.assertEqual(patient.asked, [0, 2, 4, 10])

    def test_silence(self) -> None:
        """
        A check that takes too long has failed, and is ended.
        """
        patient = self.start()
        patient.silent()
        self.pass_time(4 + 3 * 1.5)
        self.assertEqual(patient.asked, [0, 4, 5.5, 7])
        self.assertEqual(patient.cancelled, 3)
        self.assertEqual(self.told[-1], (DOWN, "192.0.2.11:8080: no answer in 0.5 s"))

    def test_why(self) -> None:
        self.start().ill()
        self.pass_time(4)
        self.assertEqual(self.told, [(UP, ""), (UP, self.told[1][1])])
        self.assertRegex(self.told[1][1], "^192.0.2.11:8080: Connection was refused")

    def test_several(self) -> None:
        """
        One that is down is enough, and only that one is spoken of.
        """
        self.start(2)
        self.patients[1].ill()
        self.pass_time(10)
        health, why = self.told[-1]
        self.assertIs(health, DOWN)
        self.assertRegex(why, "^192.0.2.12:8080: [^;]*$")
        self.assertEqual(self.checks.health, DOWN)

    def test_not_enabled(self) -> None:
        """
        Then nobody asks, and nothing is known.
        """
        patient = self.start()
        patient.ill()
        self.pass_time(8)
        self.enabled = False
        self.pass_time(1)
        asked = list(patient.asked)
        self.pass_time(20)
        self.assertEqual(patient.asked, asked)
        self.assertEqual(self.told[-1], (UNCHECKED, ""))
        patient.well()
        self.enabled = True
        self.pass_time(1)
        self.assertEqual(self.told[-1], (UP, ""))

    def test_stop(self) -> None:
        """
        Nothing goes on, and what was under way is ended.
        """
        for way in ("well", "silent"):
            patient = self.start()
            getattr(patient, way)()
            self.pass_time(4)
            said = len(self.told)
            self.checks.stopService()
            self.pass_time(20)
            self.assertEqual(len(self.told), said)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.patients[0].cancelled, 1)

    def test_defect(self) -> None:
        """
        A check that cannot even be begun has failed.
        """

        def broken() -> Deferred[Any]:
            raise RuntimeError("a defect")

        self.patients[0].answer = broken
        self.start()
        self.assertEqual(self.told, [(DOWN, "192.0.2.11:8080: a defect")])


class BuildTests(SynchronousTestCase):
    """
    What of a configuration is watched.
    """

    def config(self, health: str, vip: str = "") -> Any:
        return loads(
            changed(
                ("web: {port: 80, origin: 8080}", f"web: {{port: 80, origin: 8080, {health}}}"),
                ("[192.0.2.100], origin: 8080", f"[192.0.2.100], origin: 8080{vip}"),
            ),
            "f",
        )

    def ends(self, config: Any) -> list[tuple[str, str, str]]:
        def handoff(*_: Any) -> Deferred[Any]:
            raise NotImplementedError

        return [
            (each.origin.listener, each.origin.netloc, each.check.kind)
            for each in checked_origins(config, handoff)
        ]

    def test_families(self) -> None:
        """
        Both of a listener that has both; only that of its clients for one that has one.
        """
        config = self.config("health: {kind: tcp}", ", health: {kind: http}")
        self.assertEqual(
            self.ends(config),
            [
                ("web", "192.0.2.11:8080", "tcp"),
                ("web", "[2001:db8:2::11]:8080", "tcp"),
                ("vip", "192.0.2.11:8080", "http"),
            ],
        )

    def test_handoff(self) -> None:
        """
        In the family of its client.
        """
        config = self.config('health: {kind: handoff, client: "2001:db8:2::1"}')
        self.assertEqual(self.ends(config), [("web", "[2001:db8:2::11]:8080", "handoff")])

    def test_patience(self) -> None:
        config = self.config("health: {kind: tcp, fall: 7, window: 9}")
        self.assertEqual(ejection_thresholds(config), {"web": EjectionThreshold(7, 9.0)})
