# SPDX-License-Identifier: MIT
"""
Tests of the version that a release sets.
"""

from twisted.trial.unittest import SynchronousTestCase

from tools.release import ReleaseError, present_version, with_version

_SETTINGS = "[metadata]\nname = btcp\nversion = 0.9.0\n[options]\npython_requires = >= 3.11\n"


class VersionTests(SynchronousTestCase):
    """
    Tests of L{with_version} and L{present_version}.
    """

    def test_later_version_replaces_the_present_one_alone(self) -> None:
        changed = with_version(_SETTINGS, "0.10.0")
        self.assertEqual(changed, _SETTINGS.replace("0.9.0", "0.10.0"))

    def test_same_or_earlier_version_is_refused(self) -> None:
        for version in "0.9.0", "0.8.9":
            self.assertRaises(ReleaseError, with_version, _SETTINGS, version)

    def test_other_forms_of_version_are_refused(self) -> None:
        for version in "", "1.0", "v1.0.0", "1.0.0rc1":
            self.assertRaises(ReleaseError, with_version, _SETTINGS, version)

    def test_settings_without_version_are_refused(self) -> None:
        self.assertRaises(ReleaseError, present_version, "[metadata]\n")
