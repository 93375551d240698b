"""The memory of a long-lived process, in one of its own."""

import subprocess
import sys

PROGRAM = """
import gc
from runtime.memory import collect_rarely, keep_freed_memory
collect_rarely()
keep_freed_memory()
print(gc.isenabled(), gc.get_freeze_count() > 0, gc.get_threshold()[0] > 700)
"""


def test_what_is_there_at_the_start_is_not_collected_and_the_rest_is_rarely() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "True True True\n"
