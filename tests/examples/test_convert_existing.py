"""The converted project is what its README says, and all four apps train."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest

from rooms import ROOT
from simulated_apps import run_app_in_process

FOLDER = ROOT / "examples" / "convert_existing"
BEFORE, AFTER = FOLDER / "fedavg", FOLDER / "decentralized"


def files(folder: Path) -> list[str]:
    """Return the paths of an app's files, relative to its folder, sorted."""
    found = [path for kind in ("*.py", "*.toml", "*.md") for path in folder.rglob(kind)]
    return sorted(str(path.relative_to(folder)) for path in found)


def true_diff() -> str:
    """Return the diff of the two projects, in the form of ``diff -u1``."""
    lines: list[str] = []
    for name in files(BEFORE):
        before, after = ((folder / name).read_text().splitlines() for folder in (BEFORE, AFTER))
        lines += difflib.unified_diff(before, after, name, name, lineterm="", n=1)
    return "\n".join(lines)


def test_the_diff_in_the_readme_is_the_true_one() -> None:
    (shown,) = re.findall(r"```diff\n(.*?)\n```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert files(BEFORE) == files(AFTER)
    assert shown == true_diff()


def test_two_lines_change_and_their_imports() -> None:
    removed = [line for line in true_diff().splitlines() if re.match(r"-[^-]", line)]
    added = [line for line in true_diff().splitlines() if re.match(r"\+[^+]", line)]
    assert len(removed) == 3
    assert len(added) == 5


@pytest.mark.parametrize("name", ["fedavg", "decentralized"])
def test_the_torch_project_trains(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = run_app_in_process(FOLDER / name, 3, "num-server-rounds=4")
    (accuracy,) = re.findall(r"accuracy on the common test images: (0\.\d+)", output)
    assert float(accuracy) > 0.3  # a guess is right one time in ten
    assert (tmp_path / "final_model.pt").is_file()


@pytest.mark.parametrize("name", ["with_sklearn", "with_numpy"])
def test_apps_without_torch_train(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    output = run_app_in_process(FOLDER / name, 4, "num-server-rounds=8")
    (mean, worst) = re.findall(r"accuracy: mean (0\.\d+), worst node (0\.\d+)", output)[0]
    assert float(mean) >= float(worst) > 0.3  # alone, a node knows three digits of ten
    assert (tmp_path / "final_model.npz").is_file()
