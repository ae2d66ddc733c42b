"""Memory that a step frees is used again, without new pages from the system."""

import subprocess
import sys

import pytest

COUNT_PAGES = """
import resource, numpy
from trainables.steps.process import keep_freed_memory
if {keep}: assert keep_freed_memory()
def step():
    tensors = [numpy.ones(2**19) for _ in range(10)]  # 40 MB
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs glibc")
def test_a_step_asks_the_system_for_no_memory_that_it_freed_before():
    kept, usual = (
        int(subprocess.check_output([sys.executable, "-c", COUNT_PAGES.format(keep=k)]))
        for k in (True, False)
    )
    assert kept < 100 < usual
