"""The whole product in one object: `Assistant.open(index).query(...)`."""

from medclip.assistant.assistant import Among, Asked, Assistant, Capability, Coverage

__all__ = ["Among", "Asked", "Assistant", "Capability", "Coverage"]
