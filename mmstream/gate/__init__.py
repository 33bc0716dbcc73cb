"""How much of a feed to decode."""

from mmstream.gate.gate import Gate

__all__ = ["Gate"]
