"""The checked-in stubs are what the generator makes of the .proto file."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def test_the_stubs_are_up_to_date(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "proto" / "generate.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    try:
        python = script.find_generator(tmp_path / "venv")
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"grpcio-tools {script.GENERATOR[1]} cannot be had here: {error}")
    script.find_generator = lambda folder: python
    made = script.generate(tmp_path)
    assert [path.name for path in made] == ["peer_pb2.py", "peer_pb2.pyi", "peer_pb2_grpc.py"]
    for path in made:
        checked_in = ROOT / "server_free" / "peers" / path.name
        assert path.read_text() == checked_in.read_text(), f"{path.name}: run proto/generate.py"
