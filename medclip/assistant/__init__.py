"""The whole product in one object: `Assistant.open(index).query(...)`."""

from medclip.assistant.assistant import Among, Asked, Assistant, Capability, Coverage, Question
from medclip.assistant.refining import Refinement, Region

__all__ = ["Among", "Asked", "Assistant", "Capability", "Coverage", "Question", "Refinement", "Region"]
