"""The page: every picture has its words and its numbers, and no text of a user's becomes markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flwr_gossip.server_free.report import page, read_all
from report_pages import HOSTILE, Element, figure, page_of, parsed, rows_of, write_hostile
from run_samples import sample_config, write_sample, write_simulated


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {
        "teleportation": write_sample(root / "teleportation"),
        "gossip": write_sample(root / "gossip", sample_config(active=None)),
        "simulated": write_simulated(root / "simulated"),
        "hostile": write_hostile(root / "hostile<b>"),
        "unfinished": write_sample(root / "unfinished", sample_config(rounds=2), ()),
        "large": write_sample(root / "large", sample_config(nodes=250, rounds=300, active=None)),
    }


NAMES = ["teleportation", "gossip", "simulated", "hostile", "unfinished", "large"]


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_has_a_title_a_description_and_its_numbers(
    samples: dict[str, Path], name: str
) -> None:
    figures = page_of(samples[name]).all("figure")
    assert figures or name == "unfinished"
    for shown in figures:
        picture = shown.all("svg")[0]
        labels = (picture.attributes["aria-labelledby"] or "").split()
        texts = {e.attributes["id"]: e.text for e in picture.inside if e.tag in ("title", "desc")}
        assert picture.attributes["role"] == "img"
        assert all(texts[label].strip() for label in labels) and len(labels) == 2
        table = shown.all("details")[0].all("table")[0]
        assert rows_of(table) and table.all("th")[0].attributes["scope"] == "col"
        assert "nan" not in "".join(p.attributes.get("d") or "" for p in picture.all("path"))
        assert len(shown.all("h3")) == 1


@pytest.mark.parametrize("name", NAMES)
def test_anchors_are_there_once_and_all_links_lead_to_one(
    samples: dict[str, Path], name: str
) -> None:
    document = page_of(samples[name], *([samples["gossip"]] if name != "gossip" else []))
    ids = [id for element in walk(document) if (id := element.attributes.get("id"))]
    assert len(ids) == len(set(ids))
    links = [link.attributes["href"] or "" for link in document.all("a")]
    assert len(links) > 2 and {link[1:] for link in links} <= set(ids)


def walk(element: Element) -> list[Element]:
    return [element] + [inner for child in element.inside for inner in walk(child)]


def test_the_page_asks_nobody_for_anything(samples: dict[str, Path]) -> None:
    document = page_of(*samples.values())
    assert document.all("script") == document.all("img") == document.all("iframe") == []
    assert [link.attributes["href"] for link in document.all("link")] == ["data:,"]
    style = document.all("style")[0].text
    assert "url(" not in style and "@import" not in style
    policies = [m.attributes["content"] for m in document.all("meta") if "content" in m.attributes]
    assert any("default-src 'none'" in (policy or "") for policy in policies)


def test_texts_of_users_stay_texts(samples: dict[str, Path]) -> None:
    html = page(read_all([samples["hostile"]]))
    html.encode()
    document = parsed(html)
    assert document.all("script") == document.all("b") == []
    shown = HOSTILE.replace("\x07", "\ufffd").replace("\ud800", "\ufffd")
    losses = document.all("table")[-1]
    assert rows_of(losses)[0][3:] == [f"{shown}: {shown}", shown]
    assert f"7: {shown}7" in rows_of(losses)[0]
    assert f"failed in round 12 after 7 s: {shown}" in document.words()
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]", html)


def test_a_run_without_rows_says_what_is_not_known(samples: dict[str, Path]) -> None:
    words = page_of(samples["unfinished"]).words()
    assert "Not known: no consensus distance and no metrics of the nodes were recorded." in words
    assert "nan" not in words


def test_a_topology_too_large_to_draw_is_a_matrix_and_says_so(samples: dict[str, Path]) -> None:
    shown = figure(page_of(samples["large"]), "run1-topology")
    assert "Too many to draw as a graph" in shown.words()
    assert ["senders to one of them in a round, mean", "2"] in rows_of(shown.all("table")[0])


def test_nodes_in_a_graph_tell_their_value(samples: dict[str, Path]) -> None:
    shown = figure(page_of(samples["gossip"]), "run1-topology")
    told = [group.all("title")[0].text for group in shown.all("g")]
    assert len(told) == 8 and told[0].startswith("node 0: 0.8") and told[7] == "node 7"
    assert rows_of(shown.all("table")[0])[0] == ["node 0", told[0].split()[-1], "1, 7"]


def test_several_runs_share_one_picture_each_with_their_own_colours(
    samples: dict[str, Path],
) -> None:
    document = page_of(samples["teleportation"], samples["gossip"])
    shown = figure(document, "accuracy-rounds")
    lines = [p.attributes["class"] for p in shown.all("svg")[0].all("path")]
    assert [line for line in lines if line and line.startswith("line")] == ["line c0", "line c1"]
    legend = [item.words() for item in shown.all("ul")[0].all("li")]
    assert legend == ["Teleportation, one-peer-exponential, 4 active", "Gossip, ring"]
    assert {row[0] for row in rows_of(shown.all("table")[0])} == set(legend)
