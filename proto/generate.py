"""Regenerate the checked-in gRPC stubs of server_free/peers from the .proto file beside this one.

Run ``python proto/generate.py``. The generator's version is fixed: code of a newer one demands a
newer protobuf than Flower's oldest. If this Python does not have it, it is installed into a
throw-away environment.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

GENERATOR = ("grpcio-tools", "1.70.0")
SOURCE = "flwr_gossip/server_free/peers/peer.proto"
PROTO = Path(__file__).resolve().parent
TARGET = PROTO.parent / "server_free" / "peers"
INSTALL_TIMEOUT_S = 120
GENERATE_TIMEOUT_S = 60


def find_generator(folder: Path) -> Path:
    """Return a Python that has the generator; made in ``folder`` if this one has not."""
    name, wanted = GENERATOR
    try:
        if version(name) == wanted:
            return Path(sys.executable)
    except PackageNotFoundError:
        pass
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", f"{name}=={wanted}"]
    subprocess.run(install, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S)
    return python


def generate(target: Path) -> list[Path]:
    """Write the stubs into the folder ``target`` and return their paths."""
    with tempfile.TemporaryDirectory() as folder:
        python, out = find_generator(Path(folder) / "venv"), Path(folder) / "out"
        out.mkdir()
        outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
        command = [python, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}", *outputs, SOURCE]
        subprocess.run(command, check=True, timeout=GENERATE_TIMEOUT_S)
        made = sorted((out / SOURCE).parent.iterdir())
        return [Path(shutil.copy(path, target / path.name)) for path in made]


if __name__ == "__main__":
    for path in generate(TARGET):
        print(path.relative_to(PROTO.parent))
