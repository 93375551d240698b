"""The limit on open files, of a process of its own."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from structlog.testing import capture_logs
from runtime.open_files import allow_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
with capture_logs() as logs:
    allow_open_files({needed})
print(resource.getrlimit(resource.RLIMIT_NOFILE), [line["event"] for line in logs])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "needed", "became", "said"),
    [
        (64, 256, 200, (200, 256), []),
        (64, 256, 50, (64, 256), []),
        (64, 256, 300, (256, 256), ["few_open_files"]),
        (256, 256, 300, (256, 256), ["few_open_files"]),
    ],
)
def test_the_limit_is_raised_as_far_as_it_may(
    soft: int, hard: int, needed: int, became: tuple[int, int], said: list[str]
) -> None:
    program = PROGRAM.format(soft=soft, hard=hard, needed=needed)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"{became} {said}\n"
