# SPDX-License-Identifier: MIT
"""
Build steps that setup.cfg cannot express: the compiled BPF programs, and the files beside Python's.
"""

import shutil
import subprocess
from glob import glob
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

COMPILER = "packaging/compile-bpf"


class BuildWithPrograms(build_py):
    """
    Compile each BPF program that is not there.  An sdist brings them compiled.
    """

    def run(self) -> None:
        if not self.editable_mode:
            for source in map(Path, glob("btcp/datapath/bpf/*.bpf.c")):
                self._compile(source, source.with_suffix(".o"))
        super().run()

    def _compile(self, source: Path, to: Path) -> None:
        if to.exists():
            return
        if shutil.which("clang") is None:
            raise CompileError(f"{to} is missing, and clang: apt-get install clang libbpf-dev")
        subprocess.run(["sh", COMPILER, str(source), str(to)], check=True)


class PlatformWheel(bdist_wheel):
    """
    The programs are compiled for one architecture; the Python code is for every version.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    cmdclass={"build_py": BuildWithPrograms, "bdist_wheel": PlatformWheel},
    data_files=[
        ("share/btcp/conf", glob("conf/*.yaml")),
        ("share/btcp/conf/systemd", glob("conf/systemd/*")),
        ("share/btcp/conf/logrotate", glob("conf/logrotate/*")),
        ("share/man/man1", glob("packaging/generated/man/*.1")),
        ("share/bash-completion/completions", glob("packaging/generated/bash/*")),
        ("share/zsh/site-functions", glob("packaging/generated/zsh/*")),
    ],
)
