"""What bytes from a broker can be instead of a packet."""

from __future__ import annotations

__all__ = ["Malformed", "TooLarge"]


class Malformed(Exception):
    """A rule of MQTT is broken; the text says which.

    ``code``: the reason code of the DISCONNECT that MQTT 5 wants in answer (MQTT 5.0 section 4.13).
    """

    def __init__(self, why: str, *, code: int = 0x81) -> None:
        super().__init__(why)
        self.code = code

    @classmethod
    def rule(cls, broken: str, section: str, *, is_5: bool, code: int = 0x81) -> Malformed:
        """A rule with the section of the standard that states it."""
        return cls(f"{broken} (MQTT {'5.0' if is_5 else '3.1.1'} section {section})", code=code)


class TooLarge(Exception):
    """A packet above a limit of ours."""

    code = 0x95
