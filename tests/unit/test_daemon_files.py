# SPDX-License-Identifier: MIT
"""
Tests for L{btcp.daemon.files}: an attacker who owns a directory that root writes to.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from unittest import skipUnless

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from btcp import tap
from btcp.config import loads
from btcp.daemon import files
from btcp.lab.topology import node_yaml
from btcp.logs import LogFile

USER = 65534, 65534


@skipUnless(os.geteuid() == 0, "needs root: the files belong to two users")
class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(tempfile.mkdtemp(dir="/run"))
        self.addCleanup(shutil.rmtree, self.root)
        os.chmod(self.root, 0o755)
        self.secret = self.root / "secret"
        self.secret.write_text("root's\n")
        os.chmod(self.secret, 0o600)
        self.theirs = self.root / "theirs"
        self.theirs.mkdir()
        os.chown(self.theirs, *USER)

    def assert_untouched(self) -> None:
        status = self.secret.stat()
        self.assertEqual((status.st_uid, stat.S_IMODE(status.st_mode)), (0, 0o600))
        self.assertEqual(self.secret.read_text(), "root's\n")

    def log(self, path: Path) -> LogFile:
        return LogFile(str(path), files.opener(USER))

    # -- the log file

    def test_symbolic_link(self) -> None:
        (self.theirs / "log").symlink_to(self.secret)
        self.assertRaises(PermissionError, self.log, self.theirs / "log")
        self.assert_untouched()

    def test_hard_link(self) -> None:
        os.link(self.secret, self.theirs / "log")
        self.assertRaises(PermissionError, self.log, self.theirs / "log")
        self.assert_untouched()

    def test_linked_directory(self) -> None:
        """
        The link is not the last name of the path, but one before.
        """
        (self.theirs / "sub").symlink_to(self.root)
        self.assertRaises(PermissionError, self.log, self.theirs / "sub" / "secret")
        self.assertRaises(PermissionError, self.log, self.theirs / "sub" / "new")
        self.assert_untouched()
        self.assertFalse((self.root / "new").exists())

    def test_directory_below_theirs(self) -> None:
        """
        Root's directory in theirs is not root's: they can rename it.
        """
        inner = self.theirs / "inner"
        inner.mkdir()
        self.assertFalse(files.is_roots(inner))
        (inner / "log").symlink_to(self.secret)
        self.assertRaises(PermissionError, self.log, inner / "log")
        self.assert_untouched()

    def test_their_directory(self) -> None:
        self.log(self.theirs / "log").write("written\n")
        self.assertEqual((self.theirs / "log").stat().st_uid, USER[0])
        self.assertEqual((self.theirs / "log").read_text(), "written\n")
        self.assertEqual((os.geteuid(), os.getegid()), (0, 0))

    def test_roots_directory(self) -> None:
        """
        A file that only root can make is given to the user, who can go on with it.
        """
        self.log(self.root / "log").write("written\n")
        self.assertEqual((self.root / "log").stat().st_uid, USER[0])

    def test_link_of_roots(self) -> None:
        (self.root / "elsewhere").mkdir()
        (self.root / "log").symlink_to(self.root / "elsewhere" / "log")
        self.log(self.root / "log").write("written\n")
        self.assertEqual((self.root / "elsewhere" / "log").stat().st_uid, USER[0])

    def test_link_of_roots_into_theirs(self) -> None:
        (self.theirs / "sub").symlink_to(self.root)
        (self.root / "log").symlink_to(self.theirs / "sub" / "secret")
        self.assertRaises(PermissionError, self.log, self.root / "log")
        self.assert_untouched()

    def test_sticky(self) -> None:
        """
        In a directory such as C{/tmp}, others can make names, but not replace root's.
        """
        os.chmod(self.root, 0o1777)
        self.assertFalse(files.is_roots(self.root))
        own = self.root / "own"
        own.mkdir()
        self.assertTrue(files.is_roots(own))
        (self.root / "link").symlink_to(own)
        self.assertTrue(files.is_roots(self.root / "link"))
        os.lchown(self.root / "link", *USER)
        self.assertFalse(files.is_roots(self.root / "link"))

    def test_loop(self) -> None:
        (self.root / "loop").symlink_to("loop")
        self.assertFalse(files.is_roots(self.root / "loop"))
        self.assertRaises(OSError, self.log, self.root / "loop")

    def test_device(self) -> None:
        owner = os.stat("/dev/null").st_uid
        self.log(Path("/dev/null")).write("away\n")
        self.assertEqual(os.stat("/dev/null").st_uid, owner)

    # -- directories

    def test_state(self) -> None:
        """
        Files that root wrote before a user was configured are given to the user.
        """
        state = self.root / "state"
        state.mkdir()
        (state / "decisions.json").write_text("{}")
        (state / "other").touch()
        files.make_directory(state, USER, suffix=".json")
        owners = [each.stat().st_uid for each in (state, state / "decisions.json", state / "other")]
        self.assertEqual(owners, [USER[0], USER[0], 0])

    def test_links_in_state(self) -> None:
        (self.theirs / "a.json").symlink_to(self.secret)
        os.link(self.secret, self.theirs / "b.json")
        files.make_directory(self.theirs, USER, suffix=".json")
        self.assert_untouched()

    def test_link_in_place_of_state(self) -> None:
        target = self.root / "target"
        target.mkdir()
        (self.theirs / "state").symlink_to(target)
        files.make_directory(self.theirs / "state", USER, suffix=".json")
        self.assertEqual(target.stat().st_uid, 0)

    def test_new_directory(self) -> None:
        files.make_directory(self.root / "new" / "run", USER)
        self.assertEqual((self.root / "new" / "run").stat().st_uid, USER[0])
        self.assertEqual((self.root / "new").stat().st_uid, 0)

    # -- twistd's files

    def test_pid_file(self) -> None:
        """
        C{twistd} would follow a link; it is not let near one.
        """
        self.check(pidfile=self.root / "btcp.pid", logfile=self.root / "btcp.log")
        for option in ("pidfile", "logfile"):
            with self.assertRaisesRegex(UsageError, f"--{option} .*others can make links"):
                self.check(**{option: self.theirs / "file"})

    def check(self, **paths: Path) -> None:
        options = tap.Options()
        options.log_path = str(paths.pop("logfile", self.root / "log"))
        config = loads(node_yaml("a", self.root / "run", "abc", {"user": "nobody"}), "node.yaml")
        options._check_files(config, {name: str(path) for name, path in paths.items()})
