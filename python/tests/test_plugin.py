"""The plugin, as a user of it has it: in a pytest of its own."""

from __future__ import annotations

from typing import List

import pytest
from conftest import SMALL

TEST = """
    def test_it(vm):
        assert vm.read("/prepared") == b"yes\\n"
        vm.sh("echo on the console > /dev/ttyS0; echo x > /made; rm /etc/passwd")
        assert vm.exists("/etc/passwd")
"""


@pytest.fixture
def options(small_arguments: List[str]) -> List[str]:
    options = [f"--bivouac-options='{word}'" for word in small_arguments[:3]]
    return [*options, f"--bivouac-image={SMALL['image']}", "--bivouac-memory=256M"]


def test_a_failure_shows_console_and_changes(pytester: pytest.Pytester, options: List[str]) -> None:
    pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess(*options, "--bivouac-prepare=echo yes > /prepared")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*vm: the end of the console*",
            "on the console",
            "*vm: changes on its disks*",
            "removed  /etc/passwd",
            "added    /made",
        ]
    )


def test_the_ini_file_says_it_too(pytester: pytest.Pytester, small_arguments: List[str]) -> None:
    words = " ".join(f"'{word}'" for word in small_arguments[:3])
    pytester.makeini(
        f"[pytest]\nbivouac_image = {SMALL['image']}\nbivouac_memory = 256M\nbivouac_cpus = 1\n"
        f"bivouac_options = {words}\nbivouac_prepare =\n  echo yes > /prepared\n  test -e /prepared\n"
    )
    pytester.makepyfile("def test_it(vm): assert vm.read('/prepared') == b'yes\\n'")
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_machine_that_has_crashed_has_its_last_words(
    pytester: pytest.Pytester, options: List[str]
) -> None:
    pytester.makepyfile("def test_it(vm): vm.sh('echo c > /proc/sysrq-trigger')")
    result = pytester.runpytest_subprocess(*options)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*sysrq triggered crash*", "*changes on its disks*", "not known: *"]
    )


def test_what_is_missing_or_wrong_is_said(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(vm): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["no image for the fixture vm: give --bivouac-image*"])
    result = pytester.runpytest_subprocess("--bivouac-image=/no/such/image")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*SessionError: *No such file*"])
