"""Twenty tests that wreck their machine, each in a branch of its own, as with pytest-xdist."""

from __future__ import annotations

import pytest

import bivouac


@pytest.mark.parametrize("number", range(20))
def test_each_has_a_branch_of_its_own(vm: bivouac.Machine, number: int) -> None:
    assert vm.read("/prepared") == b"prepared\n"
    assert vm.list("/tests") == []
    vm.write(f"/tests/{number}", "x" * number)
    vm.sh("rm -rf /etc /prepared; echo gone > /etc")
    assert [entry.name for entry in vm.list("/tests")] == [str(number)]
