"""Help as wide as the terminal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("width", [60, 170])
def test_help_is_as_wide_as_the_terminal(width: int) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("medclip")), "index", "build", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": str(width)},
    )  # fmt: skip
    longest = max(map(len, done.stdout.splitlines()))
    assert longest <= width
    assert longest > (100 if width > 100 else 50)
