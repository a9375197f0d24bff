"""The CRC-32 of this package is zlib's, with and without the faster library."""

from __future__ import annotations

import subprocess
import sys
import zlib

import numpy as np
import pytest

from flwr_gossip.server_free.checksums import crc32

WITHOUT = """
import sys, zlib
sys.modules["isal"] = sys.modules["isal.isal_zlib"] = None
from flwr_gossip.server_free.checksums import crc32
print(crc32(b"a model"))
"""


@pytest.mark.parametrize("size", [0, 1, 7, 64, 1000, 1 << 18, (1 << 20) + 3])
def test_it_is_that_of_zlib(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert crc32(data) == crc32(memoryview(data)) == zlib.crc32(data)


def test_it_is_the_same_without_the_library() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) == zlib.crc32(b"a model")
