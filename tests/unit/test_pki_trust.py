# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.pki.trust}, L{btcp.control.secured}, L{btcp.pki.names} and
L{btcp.control.protection}: who may become a peer, and who never does.
"""

from __future__ import annotations

import gc
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import AF_INET, SOCK_STREAM, socket
from typing import Any
from weakref import ref

from attrs import evolve, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, formatEvent, globalLogPublisher
from twisted.protocols.amp import parseString
from twisted.test.iosim import FakeTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from btcp.config import Control, Credentials
from btcp.control import secured
from btcp.control.commands import Identity
from btcp.control.link import ControlProtocol
from btcp.control.peers import Peers
from btcp.control.protection import MutualTls, Protection, protect
from btcp.control.secured import SecuredProtocol
from btcp.handoff.messages import Adopted
from btcp.pki import authority, trust
from btcp.pki.names import misnamed
from btcp.pki.trust import Trust, TrustError
from tests.certificates import WRONG, Certificates
from tests.unit.test_control_commands import HANDOFF
from tests.unit.test_control_link import HELLO, ask, free_port
from tests.unit.test_control_peers import (
    CAPABILITIES,
    NODES,
    Config,
    ControlConfig,
    NodeConfig,
    Owner,
    adopted,
    termination,
)

ROOT = Path(__file__).parents[2]
SOON = 0.05


def private(key: Any, encryption: KeySerializationEncryption | None = None) -> bytes:
    """
    A key as in a file.
    """
    form = encryption or NoEncryption()
    octets: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, form)
    return octets


@frozen
class Signer:
    """
    Somebody's certificate and key, to sign others with or to be shown.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        """
        The certificate as in a file.
        """
        return self.certificate.public_bytes(Encoding.PEM)


def signed(
    *names: x509.GeneralName,
    by: Signer | None = None,
    purposes: Sequence[x509.ObjectIdentifier] = (),
    is_authority: bool = False,
) -> Signer:
    """
    A certificate for these names.

    @param by: who signs; itself unless given.
    @param purposes: what it is for; anything unless given.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"number {id(key)}")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject_name=subject, public_key=key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=30))
    builder = builder.issuer_name(by.certificate.subject if by else subject)
    builder = builder.add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return Signer(builder.sign(by.key if by else key, SHA256()), key)


def named(*names: x509.GeneralName) -> x509.Certificate:
    """
    A certificate that nobody but itself signed.
    """
    return signed(*names).certificate


class NameTests(SynchronousTestCase):
    """
    Tests for L{misnamed}.
    """

    def test_right(self) -> None:
        for node in ("a", "1", "node-7", "x" * 32):
            certificate = named(x509.DNSName(f"{node}.btcp.internal"))
            self.assertIsNone(misnamed(certificate, node))

    def test_one_of_several(self) -> None:
        certificate = named(x509.DNSName("www.example"), x509.DNSName("a.btcp.internal"))
        self.assertIsNone(misnamed(certificate, "a"))

    def test_wrong(self) -> None:
        for name in ("b.btcp.internal", "a", "aa.btcp.internal", "a.btcp.internal.example"):
            self.assertEqual(
                misnamed(named(x509.DNSName(name)), "a"),
                f"the certificate is not for a.btcp.internal but for {name}",
            )

    def test_wildcard(self) -> None:
        """
        Nobody is every node.
        """
        problem = misnamed(named(x509.DNSName("*.btcp.internal")), "a")
        self.assertIn("but for *.btcp.internal", str(problem))

    def test_common_name_is_no_name(self) -> None:
        self.assertIn("but for nobody", str(misnamed(named(), "a")))

    def test_other_kinds_of_names(self) -> None:
        certificate = named(x509.UniformResourceIdentifier("dns:a.btcp.internal"))
        self.assertIn("but for nobody", str(misnamed(certificate, "a")))

    def test_unreadable(self) -> None:
        for odd in ("urn:a:b", "nothing"):
            names = x509.UniformResourceIdentifier(odd), x509.DNSName("a.btcp.internal")
            self.assertIn("cannot be read", str(misnamed(named(*names), "a")))

    def test_any_claim(self) -> None:
        """
        Whatever a Hello says is no reason to fail.
        """
        certificate = named(x509.DNSName("a.btcp.internal"))
        for claim in ("", "\0", "ä", "a/", "..", "*", "x" * 255, "\ud7ff", "xn--", "."):
            self.assertIsNotNone(misnamed(certificate, claim), claim)


class TrustTestCase(TestCase):
    def setUp(self) -> None:
        self.certificates = Certificates(Path(self.mktemp()))
        self.events = EventLoggingObserver.createWithCleanup(self, globalLogPublisher)

    def file(self, content: bytes) -> str:
        """
        The path of a file.
        """
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)

    def logged(self, level: LogLevel = LogLevel.warn) -> list[str]:
        """
        The lines that were logged at C{level} and above.
        """
        return [str(formatEvent(event)) for event in self.events if event["log_level"] >= level]


class LoadTests(TrustTestCase):
    """
    What is wrong with the files is said in one line.
    """

    def refused(self, words: str, **changes: str) -> None:
        """
        The good files of C{a} but for C{changes} cannot be used.
        """
        files = evolve(self.certificates.good("a"), **changes)
        error = self.assertRaises(TrustError, Trust, files, "a")
        self.assertIn(words, str(error))
        self.assertNotIn("\n", str(error))

    def test_good(self) -> None:
        ends = Trust(self.certificates.good("a"), "a").ends
        self.assertTrue(timedelta(days=59) < ends - datetime.now(UTC) < timedelta(days=60))

    def test_missing(self) -> None:
        for name in ("certificate", "key", "authority"):
            self.refused("/gone can not be read: No such file or directory", **{name: "/gone"})
            self.refused("/ can not be read: Is a directory", **{name: "/"})

    def test_nonsense(self) -> None:
        for content in (b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA"):
            path = self.file(content)
            for name in ("certificate", "authority"):
                self.refused(f"{path} is not a certificate in PEM", **{name: path})
            self.refused(f"{path} is not a private key in PEM", key=path)

    def test_encrypted_key(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        path = self.file(private(key, BestAvailableEncryption(b"secret")))
        self.refused(f"{path} is encrypted", key=path)

    def test_other_key(self) -> None:
        self.refused("node.key is not the key of ", key=self.certificates.good("b").key)

    def test_other_node(self) -> None:
        other = self.certificates.good("b")
        words = "the certificate is not for a.btcp.internal but for b.btcp.internal"
        self.refused(words, certificate=other.certificate, key=other.key)

    def test_would_be_refused(self) -> None:
        for kind, words in (
            ("wrong-authority", "unable to get local issuer certificate"),
            ("expired", "certificate has expired"),
            ("not-yet-valid", "certificate is not yet valid"),
        ):
            files = self.certificates.wrong(kind, "a")
            problem = f"does not verify with {files.authority}: "
            self.refused(problem, certificate=files.certificate, key=files.key)
            self.refused(words, certificate=files.certificate, key=files.key)

    def test_weak_key(self) -> None:
        """
        What OpenSSL itself will not have.
        """
        key = rsa.generate_private_key(65537, 1024)
        self.patch(ec, "generate_private_key", lambda curve: key)
        weak = signed(x509.DNSName("a.btcp.internal"))
        path, secret = self.file(weak.pem()), self.file(private(key))
        words = f"{path}: OpenSSL says: ee key too small"
        self.refused(words, certificate=path, authority=path, key=secret)

    def test_several_authorities(self) -> None:
        """
        A new authority is known everywhere before it signs, the old one until it is gone.
        """
        stranger = self.certificates.wrong("wrong-authority", "a")
        old = Path(self.certificates.good("a").authority)
        new = Path(stranger.certificate).parent / "ca.crt"
        both = self.file(old.read_bytes() + new.read_bytes())
        Trust(evolve(stranger, authority=both), "a")
        Trust(evolve(self.certificates.good("a"), authority=both), "a")

    def test_odd_failure(self) -> None:
        """
        Whatever else may be odd about the files is one line, too.
        """
        self.patch(trust, "misnamed", lambda *arguments: 1 / 0)
        self.refused("ca.crt cannot be used: ZeroDivisionError")


class RefreshTests(TrustTestCase):
    """
    Tests for L{Trust.refresh} and L{MutualTls.look}.
    """

    def setUp(self) -> None:
        super().setUp()
        self.trust = Trust(self.certificates.good("a"), "a")
        self.clock = Clock()
        self.counters: Counter[str] = Counter()
        self.protection = MutualTls(self.trust, self.clock, self.counters)
        self.protection.startService()
        self.addCleanup(self.protection.stopService)

    def renew(self, days: int = 90) -> None:
        """
        Replace the certificate.
        """
        authority.renew(self.certificates.directory, "a", days, datetime.now(UTC))

    def left(self) -> int:
        """
        Days for which the certificate in use is still valid.
        """
        return (self.trust.ends - datetime.now(UTC)).days

    def test_unchanged(self) -> None:
        self.assertFalse(self.trust.refresh())

    def test_renewed(self) -> None:
        """
        It is seen within a minute.
        """
        self.renew()
        self.clock.advance(59)
        self.assertEqual(self.left(), 59)
        self.clock.advance(1)
        self.assertEqual(self.left(), 89)
        self.assertIn("certificates reloaded", self.logged(LogLevel.info)[-1])
        self.assertFalse(self.trust.refresh())

    def test_damaged(self) -> None:
        """
        The old one stays, and it is said once, until the next change.
        """
        Path(self.certificates.good("a").certificate).write_bytes(b"nonsense")
        self.clock.pump([60] * 3)
        self.assertEqual(self.left(), 59)
        [line] = self.logged()
        self.assertIn("certificates not reloaded, the old ones stay in use: ", line)
        self.assertIn("node.crt is not a certificate in PEM", line)
        self.assertEqual(self.counters, {"control.reload-failed": 1})
        self.renew()
        self.clock.advance(60)
        self.assertEqual(self.left(), 89)

    def test_key_then_certificate(self) -> None:
        """
        Files that are replaced one after the other, with a look in between.
        """
        other = Certificates(Path(self.mktemp()), "a").directory
        for name, left in (("a/ca.crt", 59), ("a/node.key", 59), ("a/node.crt", 59)):
            target = self.certificates.directory / name
            target.write_bytes((other / name).read_bytes())
            self.clock.advance(60)
            self.assertEqual(self.left(), left)
        (self.certificates.directory / "ca.crt").write_bytes((other / "ca.crt").read_bytes())
        self.clock.advance(60)
        self.assertIn("certificates reloaded", self.logged(LogLevel.info)[-1])

    def test_gone(self) -> None:
        Path(self.certificates.good("a").key).unlink()
        self.clock.pump([60] * 3)
        [line] = self.logged()
        self.assertIn("node.key can not be read: No such file", line)

    def test_ends_soon(self) -> None:
        """
        A warning every day, beginning two weeks before.
        """
        self.assertEqual(self.logged(), [])
        self.renew(13)
        self.clock.pump([60] * 3)
        [line] = self.logged()
        self.assertIn("own certificate expires ", line)
        self.clock.pump([3600] * 48)
        self.assertEqual(len(self.logged()), 3)


class ProtectTests(TrustTestCase):
    """
    Tests for L{protect} and L{Unprotected}.
    """

    def protect(self, credentials: Credentials | None) -> Protection:
        return protect(Control(credentials), "a", Clock(), Counter())

    def test_insecure_is_warned_of(self) -> None:
        protection: Any = self.protect(None)
        self.assertEqual(self.logged(), [])
        protection.startService()
        [line] = self.logged()
        self.assertIn("neither encrypted nor authenticated", line)

    def test_tls(self) -> None:
        self.assertIsInstance(self.protect(self.certificates.good("a")), MutualTls)

    def test_unusable(self) -> None:
        self.assertRaises(TrustError, self.protect, self.certificates.good("b"))


class PairTestCase(TrustTestCase):
    """
    Two nodes and real TCP, on loopback.

    @ivar heartbeat: seconds.
    """

    heartbeat = SOON

    def setUp(self) -> None:
        super().setUp()
        self.nodes = {}
        for name, last in (("a", 11), ("b", 12)):
            host = f"127.0.0.{last}"
            self.nodes[name] = NodeConfig((bytes((127, 0, 0, last)),), (host, free_port(host)))
        self.counters: dict[str, Counter[str]] = {"a": Counter(), "b": Counter()}
        self.owners = {"a": Owner(), "b": Owner()}
        self.peers: dict[str, Peers] = {}

    def start(self, name: str, files: Credentials | None) -> None:
        """
        Start a node; it is insecure without C{files}.
        """
        counters = self.counters[name]
        control = Control(files)
        self.peers[name] = Peers(
            Config(name, self.nodes, ControlConfig(self.heartbeat)),
            epoch=1,
            capabilities=CAPABILITIES,
            owner=self.owners[name],
            reactor=reactor,
            counters=counters,
            protection=protect(control, name, reactor, counters),
        )
        self.peers[name].startService()
        self.addCleanup(self.peers[name].stopService)

    def start_good(self, *names: str) -> None:
        """
        Start nodes with good certificates.
        """
        for name in names:
            self.start(name, self.certificates.good(name))

    def link(self, name: str) -> SecuredProtocol:
        """
        The link of the node C{name} to the other one.
        """
        link = self.peers[name]._peers["b" if name == "a" else "a"].link
        assert isinstance(link, SecuredProtocol)
        return link

    @inlineCallbacks
    def until(self, condition: Callable[[], object]) -> Any:
        """
        Wait.
        """
        for _ in range(500):
            if condition():
                return
            yield deferLater(IReactorTime(reactor), 0.01)
        self.fail(f"it did not happen: {self.counters} {self.logged()}")

    @inlineCallbacks
    def until_linked(self) -> Any:
        """
        Wait for the link between C{a} and C{b}.
        """
        yield self.until(lambda: self.owners["a"].said and self.owners["b"].said)
        self.assertEqual(self.owners["a"].said, [("up", "b", 1)])
        self.assertEqual(self.owners["b"].said, [("up", "a", 1)])

    def assert_logged(self, words: str) -> None:
        """
        There is a warning with C{words}.
        """
        self.assertTrue(any(words in line for line in self.logged()), self.logged())


class LinkTests(PairTestCase):
    """
    Peers with good certificates.
    """

    @inlineCallbacks
    def test_link(self) -> Any:
        """
        Handoffs each way, terminations, round-trip times; and nothing is counted.
        """
        self.start_good("a", "b")
        yield self.until_linked()
        for node, other in ("ab", "ba"):
            answer: Deferred[Any] = self.peers[node].hand_off(other, HANDOFF)
            yield self.until(lambda owner=self.owners[other]: owner.pending)  # type: ignore[misc]
            self.owners[other].pending[0][2].callback(adopted(HANDOFF))
            self.assertIsInstance((yield answer), Adopted)
        self.owners["b"].known.add(1)
        self.peers["a"].terminate("b", termination())
        yield self.until(lambda: self.owners["b"].ended)
        yield self.until(lambda: self.peers["a"].states()["b"]["rtt"])
        for name in "ab":
            self.assertTrue(self.link(name).transport.getTcpNoDelay())
            handle = self.link(name).transport.getHandle()
            self.assertEqual(handle.get_protocol_version_name(), "TLSv1.3")
            self.assertEqual(+self.counters[name], {})
        self.assertEqual(self.logged(), [])

    @inlineCallbacks
    def test_large_request(self) -> Any:
        """
        More than a TLS record, and more than the transport takes at once.
        """
        self.start_good("a", "b")
        yield self.until_linked()
        messages = [evolve(HANDOFF, id=id, request=b"x" * 65000) for id in range(40)]
        answers = [self.peers["a"].hand_off("b", message) for message in messages]
        yield self.until(lambda: len(self.owners["b"].pending) == len(messages))
        for (_, message, answer), sent in zip(self.owners["b"].pending, messages, strict=True):
            self.assertEqual(message, sent)
            answer.callback(adopted(message))
        for answered in answers:
            self.assertIsInstance((yield answered), Adopted)

    @inlineCallbacks
    def test_chain(self) -> Any:
        """
        An authority that lets another one sign for it.
        """
        root = signed(is_authority=True)
        between = signed(by=root, is_authority=True)
        known = self.file(root.pem())
        for name in "ba":
            node = signed(x509.DNSName(f"{name}.btcp.internal"), by=between)
            chain = self.file(node.pem() + between.pem())
            self.start(name, Credentials(chain, self.file(private(node.key)), known))
        yield self.until_linked()

    @inlineCallbacks
    def test_last_words(self) -> Any:
        """
        What a node says when it stops arrives.
        """
        self.start_good("a", "b")
        yield self.until_linked()
        self.peers["a"].terminate("b", termination())
        yield self.peers["a"].stopService()
        yield self.until(lambda: len(self.owners["b"].said) == 2)
        self.assertEqual(self.owners["b"].ended, [("a", termination())])

    @inlineCallbacks
    def test_renewal(self) -> Any:
        """
        Live links stay as they are; the next ones come with the new certificate.
        """
        self.start_good("a", "b")
        yield self.until_linked()
        old = self.link("b")
        serial = old.certificate().serial_number
        authority.renew(self.certificates.directory, "a", 90, datetime.now(UTC))
        self.peers["a"]._protection.look()  # type: ignore[attr-defined]
        yield deferLater(IReactorTime(reactor), 5 * SOON)
        self.assertIs(self.link("b"), old)
        self.assertEqual(len(self.owners["b"].said), 1)
        old.drop("on behalf of the test", "test")
        yield self.until(lambda: len(self.owners["b"].said) == 3)
        self.assertNotEqual(self.link("b").certificate().serial_number, serial)

    @inlineCallbacks
    def test_nothing_is_left(self) -> Any:
        """
        A link that is gone is freed at once, as the garbage collector seldom runs; if
        nothing was asked on it at that moment, for AMP keeps what it was asked with.
        """
        self.heartbeat = 60.0
        self.start_good("b")
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        self.start_good("a")
        yield self.until_linked()
        for name, other in ("ab", "ba"):
            states = self.peers[name].states
            yield self.until(lambda states=states, other=other: states()[other]["rtt"])  # type: ignore[misc]
        left: list[Any] = [ref(self.link(name)) for name in "ab"]
        left += [ref(self.link(name).transport.getHandle()) for name in "ab"]
        yield self.peers["a"].stopService()
        yield self.until(lambda: len(self.owners["b"].said) == 2)
        yield deferLater(IReactorTime(reactor), SOON)
        self.assertEqual([each() for each in left], [None] * 4)


class WrongPeerTests(PairTestCase):
    """
    A node that has wrong files, or none, is refused by its peer, and both say why.
    """

    def setUp(self) -> None:
        super().setUp()
        # A node would not start with such files.
        self.patch(trust, "_check_signatures", lambda *arguments: None)
        self.patch(trust, "misnamed", lambda *arguments: None)

    @inlineCallbacks
    def refused(self, kind: str, wrong: str) -> Any:
        """
        The node C{wrong} shows a certificate of this kind.
        """
        right = "b" if wrong == "a" else "a"
        self.start(right, self.certificates.good(right))
        self.start(wrong, self.certificates.wrong(kind, wrong))
        counter = f"control.refused-tls.{kind}"
        yield self.until(lambda: self.counters[right][counter] >= 2)
        self.assertEqual(set(+self.counters[right]), {counter})
        yield self.until(lambda: +self.counters[wrong])
        self.assertEqual((self.owners["a"].said, self.owners["b"].said), ([], []))

    @inlineCallbacks
    def test_dialer(self) -> Any:
        for kind, words, answer in (
            ("wrong-authority", "not signed by our authority", "alert unknown ca"),
            ("expired", "has expired", "alert certificate expired"),
            ("not-yet-valid", "is not yet valid", "alert bad certificate"),
        ):
            yield self.refused(kind, "a")
            self.assert_logged("control connection of 127.0.0.11: refused: its certificate")
            self.assert_logged(words)
            self.assertEqual(set(+self.counters["a"]), {"control.refused-tls.by-peer"})
            self.assert_logged(answer)
            for peers in self.peers.values():
                yield peers.stopService()
            self.setUp()

    @inlineCallbacks
    def test_purpose(self) -> Any:
        """
        A certificate for servers is not for dialing.
        """
        root = signed(is_authority=True)
        name = x509.DNSName("a.btcp.internal")
        a = signed(name, by=root, purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
        b = signed(x509.DNSName("b.btcp.internal"), by=root)
        for node, shown in (("b", b), ("a", a)):
            key = self.file(private(shown.key))
            self.start(node, Credentials(self.file(shown.pem()), key, self.file(root.pem())))
        yield self.until(lambda: self.counters["b"]["control.refused-tls.wrong-purpose"])
        self.assertEqual((self.owners["a"].said, self.owners["b"].said), ([], []))

    @inlineCallbacks
    def test_signed_by_a_node(self) -> Any:
        """
        A node is no authority; what has no counter of its own has a number in the log.
        """
        root = signed(is_authority=True)
        known = self.file(root.pem())
        c = signed(x509.DNSName("c.btcp.internal"), by=root)
        for node, signer in (("b", root), ("a", c)):
            shown = signed(x509.DNSName(f"{node}.btcp.internal"), by=signer)
            chain = self.file(shown.pem() + c.pem())
            self.start(node, Credentials(chain, self.file(private(shown.key)), known))
        yield self.until(lambda: self.counters["b"]["control.refused-tls.bad-certificate"])
        self.assert_logged("its certificate is bad: OpenSSL's verification error ")
        self.assertEqual((self.owners["a"].said, self.owners["b"].said), ([], []))

    @inlineCallbacks
    def test_misnamed_dialer(self) -> Any:
        """
        It is told so, for its Hello came through.
        """
        yield self.refused("wrong-name", "a")
        self.assert_logged("refused: the certificate is not for a.btcp.internal but for b.btcp")
        self.assertEqual(set(+self.counters["a"]), {"control.refused-by-peer"})
        self.assert_logged("refuses this node: the certificate is not for a.btcp.internal")

    @inlineCallbacks
    def test_listener(self) -> Any:
        for kind in ("wrong-authority", "expired", "not-yet-valid"):
            yield self.refused(kind, "b")
            self.assertEqual(set(+self.counters["b"]), {"control.refused-tls.by-peer"})
            for peers in self.peers.values():
                yield peers.stopService()
            self.setUp()

    @inlineCallbacks
    def test_misnamed_listener(self) -> Any:
        """
        It hears no Hello.
        """
        yield self.refused("wrong-name", "b")
        self.assert_logged("of 127.0.0.12: refused: the certificate is not for b.btcp.internal")
        self.assertEqual(set(+self.counters["b"]), {"control.refused-tls.unfinished"})

    @inlineCallbacks
    def test_insecure_dialer(self) -> Any:
        self.start_good("b")
        self.start("a", None)
        yield self.until(lambda: self.counters["a"] and self.counters["b"])
        self.assertEqual(set(+self.counters["a"]), {"control.hung-up"})
        self.assertEqual(set(+self.counters["b"]), {"control.refused-tls.plaintext"})
        self.assert_logged("it does not speak TLS: is 'insecure' configured there?")
        self.assertEqual(self.owners["a"].said + self.owners["b"].said, [])

    @inlineCallbacks
    def test_insecure_listener(self) -> Any:
        self.start("b", None)
        self.start_good("a")
        yield self.until(lambda: self.counters["a"] and self.counters["b"])
        self.assertEqual(set(+self.counters["b"]), {"control.refused-tls.insecure"})
        self.assert_logged("TLS instead of AMP")
        self.assertEqual(set(+self.counters["a"]), {"control.refused-tls.unfinished"})
        self.assertEqual(self.owners["a"].said + self.owners["b"].said, [])


class StrangerTests(PairTestCase):
    """
    Whoever connects from the address of C{a} and is not C{a}.
    """

    @inlineCallbacks
    def refused(self, counter: str, words: str, do: Callable[[socket], object]) -> Any:
        """
        C{do} gets nowhere, and C{a} is linked all the same.
        """
        self.start_good("b")
        yield deferToThread(self.connected, do)
        yield self.until(lambda: +self.counters["b"])
        self.assertEqual(+self.counters["b"], {counter: 1})
        [line] = self.logged()
        self.assertIn("control connection of 127.0.0.11: ", line)
        self.assertIn(words, line)
        self.assertEqual(self.owners["b"].said, [])
        self.assertEqual(self.peers["b"]._greeting, {})
        self.start_good("a")
        yield self.until_linked()

    def connected(self, do: Callable[[socket], object]) -> None:
        """
        Run C{do} with a connection to C{b}, in a thread.
        """
        with socket(AF_INET, SOCK_STREAM) as stranger:
            stranger.settimeout(5)
            stranger.bind(("127.0.0.11", 0))
            stranger.connect(self.nodes["b"].control)
            try:
                do(stranger)
                while stranger.recv(4096):
                    pass
            except OSError:  # ssl's errors, too
                pass

    def tls(self, files: Credentials | None, said: bytes) -> Callable[[socket], object]:
        """
        Show the certificate in C{files}, whatever C{b} shows, and say something.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if files is not None:
            context.load_cert_chain(files.certificate, files.key)
        self.context = context

        def do(stranger: socket) -> None:
            with context.wrap_socket(stranger) as wrapped:
                wrapped.sendall(said)
                self.received = wrapped.recv(4096)

        return do

    def test_no_certificate(self) -> Any:
        do = self.tls(None, ask(b"Hello", HELLO))
        return self.refused("control.refused-tls.no-certificate", "presents no certificate", do)

    def test_old_version(self) -> Any:
        do = self.tls(self.certificates.good("a"), b"")
        self.context.maximum_version = ssl.TLSVersion.TLSv1_2
        return self.refused("control.refused-tls.handshake", "unsupported protocol", do)

    @inlineCallbacks
    def test_other_node(self) -> Any:
        """
        C{c} is a node as well, and speaks as C{a}: its Hello is all that is read, and
        refused before it is asked whether C{a} is welcome.
        """
        do = self.tls(self.certificates.good("c"), ask(b"Hello", HELLO) + ask(b"Ping", tag=b"2"))
        judged: list[str] = []
        judge = Peers.judge

        def note(peers: Peers, link: ControlProtocol, identity: Identity) -> None:
            judged.append(identity.node)
            judge(peers, link, identity)

        def speak(stranger: socket) -> None:
            do(stranger)
            self.assertEqual(judged, [])

        self.patch(Peers, "judge", note)
        words = "not for a.btcp.internal but for c.btcp.internal"
        yield self.refused("control.refused-tls.wrong-name", words, speak)
        self.assertEqual(sorted(judged), ["a", "b"])
        [answer] = parseString(self.received)
        self.assertEqual(answer[b"_error_code"], b"REFUSED")

    def test_garbage_inside(self) -> Any:
        do = self.tls(self.certificates.good("a"), b"\xff" * 1000)
        return self.refused("control.malformed", "a key or a box is too long", do)

    def test_plaintext(self) -> Any:
        return self.refused(
            "control.refused-tls.plaintext",
            "does not speak TLS",
            lambda stranger: stranger.sendall(ask(b"Hello", HELLO)),
        )

    def test_hang_up(self) -> Any:
        return self.refused(
            "control.refused-tls.unfinished",
            "closed the connection",
            lambda stranger: stranger.close(),
        )

    def test_garbage_after_a_record(self) -> Any:
        return self.refused(
            "control.refused-tls.handshake",
            "the TLS handshake failed: ",
            lambda stranger: stranger.sendall(b"\x16\x03\x01\x00\x10" + b"\xff" * 16),
        )


class TimeTests(TrustTestCase):
    """
    How long strangers may take, in imagined time.
    """

    def test_handshake(self) -> None:
        """
        However it dribbles, a handshake that is not done in time ends.
        """
        clock = Clock()
        counters: Counter[str] = Counter()
        protection = MutualTls(Trust(self.certificates.good("b"), "b"), clock, counters)
        config = Config("b", NODES)
        peers = Peers(
            config,
            epoch=1,
            capabilities=CAPABILITIES,
            owner=Owner(),
            reactor=clock,
            counters=counters,
            protection=protection,
        )
        factory: Any = protection.factory(peers._accept, dialing=False)
        here, there = IPv4Address("TCP", "192.0.2.11", 1), IPv4Address("TCP", "192.0.2.12", 2)
        protocol = factory.buildProtocol(here)
        transport = FakeTransport(protocol, True, there, here)
        protocol.makeConnection(transport)
        for octet in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03":
            protocol.dataReceived(bytes((octet,)))
            self.assertFalse(transport.disconnecting)
            clock.advance(0.49)
        clock.advance(0.2)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(+counters, {"control.silent": 1})
        self.assertEqual(peers._greeting, {})
        self.assertIsNone(factory.buildProtocol(IPv4Address("TCP", "198.51.100.1", 1)))
        self.assertEqual(counters["control.stranger"], 1)


class FlawTests(SynchronousTestCase):
    """
    Every kind of wrong certificate has its counter.
    """

    def test_kinds(self) -> None:
        known = {flaw.name for flaw in secured._FLAWS.values()} | {"wrong-name"}
        self.assertLessEqual(set(WRONG), known)
        protocol = (ROOT / "docs" / "control-protocol.md").read_text()
        for name in known:
            self.assertIn(f"`refused-tls.{name}`", protocol)
