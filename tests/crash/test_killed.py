"""Commands that are killed: the state before or after, nothing that the next run does not clean, no trace unreported."""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.crash.killing import ACTIONS, measure, trial
from tests.crash.world import World

KILLS = int(os.environ.get("MEDCLIP_KILLS", "27"))
QUICK = [action for action in ACTIONS if action != "train"]  # `make crash` kills trainings, too


@pytest.mark.parametrize("action", QUICK)
def test_a_killed_command_leaves_the_state_before_or_after_and_no_trace(
    action: str, world: World, context: Any, tmp_path: Path
) -> None:
    length = measure(context, action, world, tmp_path / "measured")
    for number in range(KILLS // len(QUICK)):
        rng = random.Random(f"{action}:{number}")
        assert trial(context, action, world, tmp_path / "index", length, rng).failure is None
