"""Coding: models whose floating tensors travel in fewer bytes, and what that does to them."""

from __future__ import annotations

from .block_int8 import BlockInt8
from .codec import CODECS, Codec
from .coded import NoBase, claimed, coded, decoded, is_coded
from .coders import Coder, Plain
from .half import BFloat16, Float16
from .numbers import Numbers, numbers

__all__ = [
    "CODECS",
    "BFloat16",
    "BlockInt8",
    "Codec",
    "Coder",
    "Float16",
    "NoBase",
    "Numbers",
    "Plain",
    "claimed",
    "coded",
    "decoded",
    "is_coded",
    "numbers",
]
