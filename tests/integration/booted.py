# SPDX-License-Identifier: MIT
"""
A node of a lab on which systemd is process 1, with BTCP in C{/opt/btcp}.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import btcp
from btcp.lab.cluster import Lab
from btcp.lab.programs import ENVIRONMENT

_TREE = Path(btcp.__file__).parents[1]
_SYSTEMD = Path("/lib/systemd/systemd")
_PROGRAMS = {"systemctl": "systemd", "adduser": "adduser", "logrotate": "logrotate"}
_HIDDEN = ("/home/", "/root/", "/run/")
"""Where no program can be that the unit runs: it has ProtectHome=."""

_GROUP = """
scratch=$1
mount -t cgroup2 cgroup2 "$scratch/cgroup"
group=$scratch/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/btcp-$2
"""

_ENTER = f"""
{_GROUP}
mkdir -p "$group"
echo $$ >"$group/cgroup.procs"
umount "$scratch/cgroup"
exec unshare --pid --fork --kill-child --uts --ipc --cgroup sh -euc "$3" sh "$scratch" "$4" "$5"
"""
"""In namespaces of its own, and in a control group below that of the tests: $3, the next one."""

_BOOT = """
root=$1/root layers=$1/layers
layered() {
    mkdir -p -m 755 "$layers/$1" "$layers/$1.work"
    mount -t overlay -o "lowerdir=$2,upperdir=$layers/$1,workdir=$layers/$1.work" overlay "$3"
}
mount -t tmpfs -o mode=755 tmpfs "$layers"
layered host "$3" "$root"
mkdir -p -m 755 "$root/opt/btcp"
if [ -d "$1/installed" ]; then
    mv "$1/installed" "$layers/btcp"
    layered btcp "$2" "$root/opt/btcp"
fi

# What the whole machine shares is only looked at.
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/net" "$root/dev/pts" "$root/dev/shm"
while read -r name major minor; do
    mknod -m 666 "$root/dev/$name" c "$major" "$minor"
done <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
net/tun 10 200
END

# Nothing of this machine's own is started, or mounted.
cd "$root"
rm -rf etc/systemd/system/*.wants etc/systemd/system/btcp.service* var/log/journal etc/btcp
rm -rf usr/lib/systemd/system-generators usr/lib/systemd/system/*.wants
mkdir etc/systemd/system/sysinit.target.wants
ln -s /lib/systemd/system/systemd-journald.service etc/systemd/system/sysinit.target.wants
mkdir etc/btcp
find "$1/etc" -type f -exec cp -t etc/btcp {} +
[ ! -e "$1/package.deb" ] || cp "$1/package.deb" opt/btcp/btcp_0_any.deb
pivot_root . mnt
umount -l mnt
exec env -i container=btcp PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --unit=multi-user.target
"""
"""Boot the Debian in $3, in a copy that vanishes."""

_REMOVE = f"""
{_GROUP}
[ ! -d "$group" ] || find "$group" -depth -type d -exec rmdir {{}} +
"""

_PATIENCE = 10.0


def lacks(scratch: Path) -> list[str]:
    """
    @param scratch: a directory.
    @return: what keeps this machine from booting a systemd.
    """
    path = ENVIRONMENT["PATH"]
    missing = [of for name, of in _PROGRAMS.items() if shutil.which(name, path=path) is None]
    if not _SYSTEMD.exists():
        missing.append("systemd")
    problems = [f"apt-get install {name}" for name in sorted(set(missing))]
    if _interpreter() is None:
        problems.append(f"{sys.executable} is in a home directory, which the unit hides")
    done = _unshared('mount -t cgroup2 cgroup2 "$1"', str(scratch))
    if done.returncode:
        problems.append(f"no control groups, version 2: {done.stderr.decode().strip()}")
    return problems


def _interpreter() -> Path | None:
    """
    @return: that of the tests, or the same version of Debian's.
    """
    own = Path(sys.executable).resolve()
    for path in (own, Path("/usr/bin") / own.name):
        if path.exists() and not str(path).startswith(_HIDDEN):
            return path
    return None


def _unshared(script: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """
    Run a script that mounts what nobody else sees.
    """
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh"]
    return subprocess.run([*command, *arguments], capture_output=True, env=ENVIRONMENT)


class System:
    """
    The machine's Debian, booted anew in the network of a node.  Nothing that is written there
    stays.
    """

    def __init__(
        self,
        lab: Lab,
        node: str,
        scratch: Path,
        files: Mapping[str, bytes],
        clean: tuple[Path, Path] | None = None,
    ) -> None:
        """
        @param scratch: an empty directory.
        @param files: what there is in C{/etc/btcp}.
        @param clean: root of another Debian to boot in place of the machine's own with this tree,
            and a package to put in C{/opt/btcp}.
        @raise AssertionError: it does not come up.
        """
        self._scratch, self._name = scratch, f"{lab.prefix}-{node}"
        for name in ("cgroup", "root", "layers", "etc"):
            (scratch / name).mkdir()
        for name, content in files.items():
            (scratch / "etc" / name).write_bytes(content)
        if clean is None:
            self._install(scratch / "installed")
        else:
            shutil.copy(clean[1], scratch / "package.deb")
        # lab.popen's processes are in the lab's namespaces, and end with it at the latest
        before = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _ENTER, "sh"]
        root = Path("/") if clean is None else clean[0]
        arguments = [str(scratch), self._name, _BOOT, str(_TREE), str(root)]
        self._console = (scratch / "console").open("wb")
        self._outer = lab.popen(
            node, [*before, *arguments], stdout=self._console, stderr=self._console
        )
        try:
            self._await_boot()
        except BaseException:
            self.close()
            raise

    def _install(self, changed: Path) -> None:
        """
        What is different from this tree where it is installed in C{/opt/btcp}: programs and
        packages say where they are.
        """
        interpreter = _interpreter()
        assert interpreter is not None
        environment = Path(sys.prefix).relative_to(_TREE)
        programs = changed / environment / "bin"
        programs.mkdir(parents=True)
        (programs / "python3").symlink_to(interpreter)
        for name in ("btcp", "twistd"):
            self._rewrite(Path(sys.executable).with_name(name), programs / name)
        for path in Path(sys.prefix).glob("lib/python3*/site-packages/__editable__*"):
            self._rewrite(path, changed / path.relative_to(_TREE))
        (changed / environment / "pyvenv.cfg").write_text(f"home = {interpreter.parent}\n")
        for path in (changed, *changed.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)

    def _rewrite(self, path: Path, to: Path) -> None:
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(path.read_text().replace(str(_TREE), "/opt/btcp"))
        to.chmod(path.stat().st_mode)

    def _await_boot(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self.run("systemctl", "is-active", "multi-user.target").stdout != "active\n":
            if self._outer.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self._scratch / "console").read_text(errors="replace"))
            time.sleep(0.05)

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """
        Run a command there, in C{/opt/btcp}.
        """
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children")
        first = children.read_text().split() if children.exists() else []
        if len(first) != 1:
            return subprocess.CompletedProcess(command, 1, "", "not booted")
        there = ["sh", "-c", 'cd /opt/btcp && exec "$@"', "sh", *command]
        inside = ["nsenter", "--all", f"--target={first[0]}", *there]
        return subprocess.run(
            inside, input=stdin, capture_output=True, text=True, env=ENVIRONMENT, timeout=60
        )

    def good(self, *command: str, stdin: str = "") -> str:
        """
        @return: what a command printed.
        @raise AssertionError: it failed.
        """
        done = self.run(*command, stdin=stdin)
        if done.returncode:
            raise AssertionError(f"{command}: {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def show(self, unit: str, *properties: str) -> Mapping[str, str]:
        """
        @return: what systemd says of a unit.
        """
        said = self.good("systemctl", "show", unit, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in said.splitlines())

    def write(self, path: str, content: str) -> None:
        """
        Write a file there.
        """
        script = 'mkdir -p "$(dirname "$0")"; cat >"$0"'
        self.good("sh", "-euc", script, path, stdin=content)

    def close(self) -> None:
        """
        End it, with all that runs there.
        """
        self._outer.kill()
        self._outer.wait()
        self._console.close()
        deadline = time.monotonic() + _PATIENCE
        # a control group can go when the last process in it has
        while (done := _unshared(_REMOVE, str(self._scratch), self._name)).returncode:
            if time.monotonic() > deadline:
                raise AssertionError(done.stderr.decode())
            time.sleep(0.05)


def told(heading: str, page: str = "operations.md", number: int = 0) -> Sequence[str]:
    """
    @param number: of the block of commands in the section, counted from 0.
    @return: the commands that a page of docs/ has under a heading.
    """
    text = (_TREE / "docs" / page).read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return blocks[number].splitlines()
