# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.pki.authority} and L{btcp.cli.ca}.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.trial.unittest import SynchronousTestCase

from btcp.cli.main import main
from btcp.cli.options import FAILED, MISUSED
from btcp.pki import authority
from btcp.pki.authority import (
    AuthorityError,
    create,
    issue,
    issue_operator,
    renew,
    renew_operator,
)
from btcp.pki.names import misnamed, operator_of

NOW = datetime(2027, 5, 1, 12, tzinfo=UTC)


def mode(path: Path) -> int:
    """
    The permissions of a file.
    """
    return path.stat().st_mode & 0o777


def certificate(path: Path) -> x509.Certificate:
    """
    The certificate in a file.
    """
    return x509.load_pem_x509_certificate(path.read_bytes())


class AuthorityTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()) / "authority"

    def refused(self, words: str, do: Callable[..., datetime], *arguments: object) -> None:
        """
        It is not done, and C{words} are among those that say why, in one line.
        """
        error = self.assertRaises(AuthorityError, do, self.directory, *arguments)
        self.assertIn(words, str(error))
        self.assertNotIn("\n", str(error))

    def files(self) -> dict[str, bytes]:
        """
        All there is, by its name.
        """
        found = (path for path in self.directory.rglob("*") if path.is_file())
        return {str(path.relative_to(self.directory)): path.read_bytes() for path in found}


class CreateTests(AuthorityTestCase):
    """
    Tests for L{create}.
    """

    def test_files(self) -> None:
        ends = create(self.directory, 100, NOW)
        self.assertEqual(ends, NOW + timedelta(days=100))
        self.assertEqual(sorted(self.files()), ["ca.crt", "ca.key"])
        self.assertEqual(mode(self.directory), 0o700)
        self.assertEqual(mode(self.directory / "ca.key"), 0o600)
        key = load_pem_private_key(self.files()["ca.key"], None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.assertEqual(key.curve.name, "secp256r1")

    def test_certificate(self) -> None:
        create(self.directory, 100, NOW)
        made = certificate(self.directory / "ca.crt")
        made.verify_directly_issued_by(made)
        self.assertEqual(made.not_valid_before_utc, NOW - timedelta(hours=1))
        constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertEqual(constraints.value, x509.BasicConstraints(ca=True, path_length=0))
        self.assertTrue(constraints.critical)
        usage = made.extensions.get_extension_for_class(x509.KeyUsage)
        self.assertTrue(usage.value.key_cert_sign and usage.critical)
        self.assertFalse(usage.value.digital_signature)

    def test_not_twice(self) -> None:
        create(self.directory, 100, NOW)
        before = self.files()
        self.refused("ca.key already exists and will not be overwritten", create, 100, NOW)
        self.assertEqual(self.files(), before)
        (self.directory / "ca.key").unlink()
        self.refused("ca.crt already exists and will not be overwritten", create, 100, NOW)
        self.assertEqual(sorted(self.files()), ["ca.crt"])

    def test_two_are_two(self) -> None:
        """
        Serial numbers and names tell authorities apart.
        """
        create(self.directory / "1", 100, NOW)
        create(self.directory / "2", 100, NOW)
        one, other = (certificate(self.directory / each / "ca.crt") for each in "12")
        self.assertNotEqual(one.serial_number, other.serial_number)
        self.assertNotEqual(one.subject, other.subject)

    def test_too_long(self) -> None:
        self.refused("cannot be valid for 10000000 days", create, 10_000_000, NOW)
        self.assertEqual(self.files(), {})

    def test_no_directory(self) -> None:
        self.directory.parent.write_bytes(b"")
        self.refused("can not be made: Not a directory", create, 1, NOW)


class IssueTests(AuthorityTestCase):
    """
    Tests for L{issue} and L{renew}.
    """

    def setUp(self) -> None:
        super().setUp()
        create(self.directory, 1000, NOW)

    def test_files(self) -> None:
        ends = issue(self.directory, "a", 365, NOW)
        self.assertEqual(ends, NOW + timedelta(days=365))
        home = self.directory / "a"
        self.assertEqual(sorted(path.name for path in home.iterdir()), _NODE_FILES)
        self.assertEqual(mode(home / "node.key"), 0o600)
        self.assertEqual(self.files()["a/ca.crt"], self.files()["ca.crt"])

    def test_certificate(self) -> None:
        issue(self.directory, "a", 365, NOW)
        made = certificate(self.directory / "a" / "node.crt")
        made.verify_directly_issued_by(certificate(self.directory / "ca.crt"))
        key = load_pem_private_key(self.files()["a/node.key"], None)
        self.assertEqual(key.public_key(), made.public_key())
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(names.get_values_for_type(x509.DNSName), ["a.btcp.internal"])
        both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(set(usage), both)
        constraints = made.extensions.get_extension_for_class(x509.BasicConstraints)
        self.assertFalse(constraints.value.ca)
        self.assertEqual(made.not_valid_before_utc, NOW - timedelta(hours=1))

    def test_key_is_not_overwritten(self) -> None:
        issue(self.directory, "a", 365, NOW)
        before = self.files()
        self.refused("node.key already exists and will not be", issue, "a", 365, NOW)
        self.assertEqual(self.files(), before)

    def test_renew(self) -> None:
        """
        The key stays, so one file is to be replaced, at once.
        """
        issue(self.directory, "a", 365, NOW)
        before = self.files()
        old = certificate(self.directory / "a" / "node.crt")
        later = NOW + timedelta(days=300)
        self.assertEqual(renew(self.directory, "a", 10, later), later + timedelta(days=10))
        changed = [name for name, octets in self.files().items() if octets != before.get(name)]
        self.assertEqual(changed, ["a/node.crt"])
        new = certificate(self.directory / "a" / "node.crt")
        self.assertEqual(new.public_key(), old.public_key())
        self.assertNotEqual(new.serial_number, old.serial_number)

    def test_renew_what_was_not_issued(self) -> None:
        self.refused("b/node.key can not be read: No such file", renew, "b", 10, NOW)
        self.assertNotIn("b/node.crt", self.files())

    def test_renew_after_half_an_issue(self) -> None:
        issue(self.directory, "a", 365, NOW)
        (self.directory / "a" / "node.crt").unlink()
        renew(self.directory, "a", 365, NOW)
        certificate(self.directory / "a" / "node.crt")

    def test_names(self) -> None:
        """
        What is no node's name is no directory's either.
        """
        for name in ("", "..", "a/b", "A", "a.b", "x" * 33, "a\n"):
            self.refused("is not a node name", issue, name, 1, NOW)
            self.refused("is not a node name", renew, name, 1, NOW)
        for name in ("1", "ca", "-", "x" * 32):
            issue(self.directory, name, 1, NOW)
            certificate(self.directory / name / "node.crt")

    def test_operator(self) -> None:
        """
        A client only, of a certain level, and no node.
        """
        issue_operator(self.directory, "alice", "operator", 365, NOW)
        home = self.directory / "operators" / "alice"
        self.assertEqual(
            sorted(path.name for path in home.iterdir()),
            ["ca.crt", "operator.crt", "operator.key"],
        )
        self.assertEqual(mode(home / "operator.key"), 0o600)
        made = certificate(home / "operator.crt")
        self.assertEqual(operator_of(made), ("alice", "operator"))
        usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual(list(usage), [ExtendedKeyUsageOID.CLIENT_AUTH])
        self.assertIsNotNone(misnamed(made, "alice"))

    def test_renew_operator(self) -> None:
        """
        With the level it had, or another.
        """
        issue_operator(self.directory, "alice", "admin", 365, NOW)
        path = self.directory / "operators" / "alice" / "operator.crt"
        old = certificate(path)
        for level, found in ((None, "admin"), ("user", "user"), (None, "user")):
            renew_operator(self.directory, "alice", level, 10, NOW)
            self.assertEqual(operator_of(certificate(path)), ("alice", found))
        self.assertEqual(certificate(path).public_key(), old.public_key())
        self.refused("can not be read: No such file", renew_operator, "bob", None, 10, NOW)

    def test_operators_names(self) -> None:
        for name in ("", "..", "A", "a.admin"):
            self.refused("is not a name", issue_operator, name, None, 1, NOW)

    def test_not_longer_than_the_authority(self) -> None:
        later = NOW + timedelta(days=900)
        words = "the authority's certificate expires on 2030-01-25: --days can be 100 at most"
        self.refused(words, issue, "a", 101, later)
        self.assertEqual(sorted(self.files()), ["ca.crt", "ca.key"])
        issue(self.directory, "a", 100, later)
        self.refused("--days can be 0 at most", renew, "a", 1, NOW + timedelta(days=2000))

    def test_no_authority(self) -> None:
        self.directory = self.directory / "elsewhere"
        self.refused("holds no authority: btcp ca init", issue, "a", 1, NOW)

    def test_damaged_authority(self) -> None:
        key, pem = self.directory / "ca.key", self.directory / "ca.crt"
        good = pem.read_bytes()
        pem.write_bytes(b"nonsense")
        self.refused("ca.crt is not a PEM certificate", issue, "a", 1, NOW)
        pem.unlink()
        self.refused("ca.crt can not be read: No such file", issue, "a", 1, NOW)
        pem.write_bytes(good)
        for other in self.other_keys():
            key.write_bytes(other)
            self.refused("ca.key is not an elliptic-curve key", issue, "a", 1, NOW)
        create(self.directory / "2", 1, NOW)
        key.write_bytes((self.directory / "2" / "ca.key").read_bytes())
        self.refused("ca.key is not the key of ca.crt", issue, "a", 1, NOW)

    def other_keys(self) -> list[bytes]:
        """
        What else may be in a key file: nonsense, an encrypted key, an RSA key.
        """
        form = (Encoding.PEM, PrivateFormat.PKCS8)
        curve = ec.generate_private_key(ec.SECP256R1())
        other = rsa.generate_private_key(65537, 2048)
        return [
            b"nonsense",
            curve.private_bytes(*form, BestAvailableEncryption(b"secret")),
            other.private_bytes(*form, NoEncryption()),
        ]

    def test_disk_full(self) -> None:
        """
        A file is there as a whole or not at all.
        """
        issue(self.directory, "a", 365, NOW)
        before = self.files()

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        self.refused("can not be written: No space left on device", renew, "a", 1, NOW)
        self.refused("can not be written: No space left on device", issue, "b", 1, NOW)
        self.assertEqual(self.files(), before)


_NODE_FILES = ["ca.crt", "node.crt", "node.key"]


class CommandTests(SynchronousTestCase):
    """
    Tests for L{btcp.cli.ca}.
    """

    def setUp(self) -> None:
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        self.directory = Path(self.mktemp())

    def run_ca(self, *argv: str, status: int = 0) -> str:
        """
        @return: what is printed.
        """
        stream = self.err if status else self.out
        stream.seek(0)
        stream.truncate()
        self.assertEqual(main(["ca", *argv]), status, self.err.getvalue())
        return stream.getvalue()

    def ends(self, name: str) -> timedelta:
        """
        For how long the certificate in a file is still valid.
        """
        return certificate(self.directory / name).not_valid_after_utc - datetime.now(UTC)

    def assert_days(self, name: str, days: int) -> None:
        """
        The certificate in a file is valid for so long from now on.
        """
        self.assertTrue(timedelta(days=days, minutes=-5) < self.ends(name) < timedelta(days=days))

    def test_all(self) -> None:
        said = self.run_ca("init", str(self.directory))
        self.assertIn("ca.crt: the authority, valid until ", said)
        self.assert_days("ca.crt", authority.AUTHORITY_DAYS)
        said = self.run_ca("issue", str(self.directory), "a")
        self.assertIn("a/node.crt: for node a, valid until ", said)
        self.assert_days("a/node.crt", authority.NODE_DAYS)
        said = self.run_ca("renew", str(self.directory), "a", "--days", "30")
        self.assertIn("the daemon loads it within a minute", said)
        self.assert_days("a/node.crt", 30)
        said = self.run_ca("issue", str(self.directory), "--operator", "eve", "--level", "admin")
        self.assertIn("operators/eve/operator.crt: for operator eve, valid until ", said)
        self.run_ca("renew", str(self.directory), "-o", "eve", "-d", "9")
        self.assert_days("operators/eve/operator.crt", 9)

    def test_options_anywhere(self) -> None:
        self.run_ca("init", str(self.directory), "-d", "20")
        for number, argv in enumerate((["--days=7", "{}", "{}"], ["{}", "-d", "7", "{}"])):
            words = iter((str(self.directory), str(number)))
            self.run_ca("issue", *(next(words) if word == "{}" else word for word in argv))
            self.assert_days(f"{number}/node.crt", 7)

    def test_refusal_is_one_line(self) -> None:
        self.run_ca("init", str(self.directory))
        said = self.run_ca("init", str(self.directory), status=FAILED)
        path = self.directory / "ca.key"
        self.assertEqual(said, f"btcp: {path} already exists and will not be overwritten\n")

    def test_misuse(self) -> None:
        for argv in (
            [],
            ["nonsense"],
            ["init"],
            ["init", "a", "b"],
            ["issue", "a"],
            ["renew", "a"],
            ["issue", "a", "b", "--days"],
            ["issue", "a", "b", "--days", "0"],
            ["issue", "a", "b", "--days", "soon"],
            ["issue", "a", "b", "--dais", "3"],
            ["issue", "a", "b", "--level", "admin"],
            ["issue", "a", "b", "--operator", "c"],
            ["issue", "a", "--operator", "c", "--level", "emperor"],
            ["issue", "--operator", "c"],
        ):
            said = self.run_ca(*argv, status=MISUSED)
            self.assertEqual(said.count("\n"), 1, argv)
