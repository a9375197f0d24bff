"""What the launcher adds to --node-config is what Flower reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.common.config import parse_config_args

from flwr_gossip.clients.node_config import add_to_node_config

ADDRESS = "unix:/tmp/flwr gossip/peer.sock"


def read(options: list[str]) -> dict[str, object]:
    """Read the node-config of ``options`` with Flower's own parser."""
    assert options.count("--node-config") == 1
    return parse_config_args([options[options.index("--node-config") + 1]])


def add(*options: str, folder: Path | str = ".") -> list[str]:
    return add_to_node_config(options, "gossip-peer", ADDRESS, str(folder))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], {}),
        (["--node-config", ""], {}),
        (["--node-config", "partition-id=0 num-partitions=4"], {"partition-id": 0}),
        (["--node-config=partition-id=1"], {"partition-id": 1}),
        (["--node-config", "name='a b' x=1.5 flag=true"], {"name": "a b", "x": 1.5, "flag": True}),
        (["--node-config", "n=1", "--node-config", "n=2"], {"n": 2}),
    ],
)
def test_pairs(options: list[str], expected: dict[str, object]) -> None:
    config = read(add("--insecure", *options, "--superlink", "h:1"))
    assert config["gossip-peer"] == ADDRESS
    assert {name: config[name] for name in expected} == expected


def test_other_options_stay_as_they_are() -> None:
    merged = add("--insecure", "--node-config", "a=1", "--superlink", "h:1")
    assert [o for o in merged if o not in ("--node-config", f'a=1 gossip-peer="{ADDRESS}"')] == [
        "--insecure",
        "--superlink",
        "h:1",
    ]


def test_a_toml_file(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('partition-id = 3\n[section]\nname = "x"\n')
    (tmp_path / "out").mkdir()
    merged = add("--node-config", str(mine), folder=tmp_path / "out")
    assert read(merged) == {"partition-id": 3, "section.name": "x", "gossip-peer": ADDRESS}
    assert mine.read_text() == 'partition-id = 3\n[section]\nname = "x"\n'


def test_the_field_given_by_the_user_too_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has gossip-peer already"):
        add("--node-config", "gossip-peer='unix:/x'")
    mine = tmp_path / "mine.toml"
    mine.write_text("gossip-peer = 'unix:/x'\n")
    with pytest.raises(ValueError, match="has gossip-peer already"):
        add("--node-config", str(mine), folder=tmp_path)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"none\.toml"):
        add("--node-config", str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("= = =")
    with pytest.raises(ValueError, match="Invalid"):
        add("--node-config", str(broken), folder=tmp_path)


def test_a_value_that_cannot_be_quoted() -> None:
    with pytest.raises(ValueError, match="quotes and backslashes"):
        add_to_node_config([], "gossip-peer", 'unix:/a"b', ".")
