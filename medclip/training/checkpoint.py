"""State of a training on disk, so that `--resume` goes on where a kill struck. Safetensors, replaced atomically."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from medclip.errors import OutputError
from medclip.files.tensors import write_tensors

__all__ = ["Checkpoint", "State", "optimiser_tensors", "restore_optimiser"]


@dataclass(frozen=True)
class State:
    """Named groups of tensors, and what is not a tensor."""

    groups: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]  # JSON


class Checkpoint:
    """One file that holds the latest state of one run, or nothing at all where `file` is None."""

    def __init__(self, file: Path | None, request: dict[str, Any]) -> None:
        self._file, self._request = file, request

    def save(self, state: State) -> None:
        """Replace the file by this state."""
        if self._file is None:
            return
        tensors = {
            f"{group}/{name}": tensor.detach().cpu().clone().contiguous()
            for group, members in state.groups.items()
            for name, tensor in members.items()
        }
        partial = self._file.with_suffix(".partial")
        write_tensors(partial, tensors, {"facts": json.dumps(state.facts), "request": json.dumps(self._request)})
        partial.rename(self._file)

    def load(self) -> State | None:
        """The saved state, or None where there is none.

        Raises:
            OutputError: the file is damaged, or was begun with other settings.
        """
        if self._file is None or not self._file.is_file():
            return None
        groups: dict[str, dict[str, Tensor]] = {}
        try:
            with safe_open(self._file, "pt") as handle:
                metadata = handle.metadata()
                for key in handle.keys():  # noqa: SIM118 - not a dict
                    group, name = key.split("/", 1)
                    groups.setdefault(group, {})[name] = handle.get_tensor(key)
        except SafetensorError as error:
            raise OutputError(f"{self._file}: is damaged; start anew with --force") from error
        if json.loads(metadata["request"]) != self._request:
            raise OutputError(f"{self._file}: was begun with other settings; repeat them, or start anew with --force")
        return State(groups, json.loads(metadata["facts"]))


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser, as named tensors."""
    state = optimiser.state_dict()["state"]
    return {f"{i}.{key}": torch.as_tensor(value) for i, entry in state.items() for key, value in entry.items()}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Undo `optimiser_tensors`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
