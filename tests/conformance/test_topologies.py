"""One suite for every form of topology, at sizes and with arguments that hypothesis chooses.

A form that ``from_spec`` knows and that has no entry in ``FORMS`` fails the first test.
"""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from flwr_gossip.server_free import topologies
from flwr_gossip.server_free.errors import PlanError
from flwr_gossip.server_free.topologies import Topology, from_spec

Instance = tuple[str, int]
"""A spec and a number of nodes that fits it."""

ROUNDS = 64
"""How many rounds stand for a period where every round draws a W of its own."""

sizes = st.sampled_from([1, 2, 3, 4, 16, 31, 32, 33]) | st.integers(1, 40)
powers_of_two = st.sampled_from([1, 2, 4, 8, 16, 32])
seeds = st.sampled_from(["", ",seed=1", ",seed=77"])


@dataclass(frozen=True)
class Form:
    """What the suite must know of a form beside its topologies.

    ``kind`` says what holds for all of its topologies: "static" is undirected with
    Metropolis-Hastings weights, "varying" has symmetric phases, "fresh" draws a symmetric W for
    each round, "directed" may be anything else. ``at_scale`` is an instance of about 100,000
    nodes, None where a row or the first question costs O(n). ``graph`` is networkx's graph of an
    instance, on the nodes 0..n-1. ``modes`` says whether the spectrum always has a closed form.
    """

    kind: Literal["static", "varying", "fresh", "directed"]
    instances: st.SearchStrategy[Instance]
    at_scale: Instance | None = None
    graph: Callable[[int, str], nx.Graph] | None = None
    modes: bool = True
    connects: bool = True


def plain(
    kind: Literal["static", "varying", "directed"],
    spec: str,
    graph: Callable[[int, str], nx.Graph] | None = None,
    *,
    ns: st.SearchStrategy[int] = sizes,
    scale: int | None = 100_000,
    modes: bool = True,
    connects: bool = True,
) -> Form:
    """Return the entry of a form without arguments."""
    at_scale = (spec, scale) if scale else None
    return Form(kind, ns.map(lambda n: (spec, n)), at_scale, graph, modes, connects)


def with_sides(name: str, periodic: bool) -> Form:
    """Return the entry of a form with rows and columns."""
    sides = st.tuples(st.integers(1, 7), st.integers(1, 6))
    instances = sides.map(lambda rc: (f"{name}:{rc[0]}x{rc[1]}", rc[0] * rc[1]))

    def graph(_n: int, argument: str) -> nx.Graph:
        rows, columns = map(int, argument.split("x"))
        return numbered(nx.grid_2d_graph(rows, columns, periodic=periodic))

    return Form("static", instances, (f"{name}:400x250", 100_000), graph, modes=periodic)


def with_degree(name: str, scale: Instance) -> Form:
    """Return the entry of a form for any number of nodes and any maximum degree."""
    instances = st.tuples(st.integers(1, 6), sizes).map(lambda kn: (f"{name}:{kn[0]}", kn[1]))
    return Form("varying", instances, scale, modes=False)


@st.composite
def regular(draw: st.DrawFn) -> Instance:
    n = draw(st.integers(2, 24))
    degree = draw(st.sampled_from([d for d in range(1, n) if n * d % 2 == 0]))
    return f"random-regular:{degree}{draw(seeds)}", n


@st.composite
def random_graph(draw: st.DrawFn) -> Instance:
    return f"erdos-renyi:{draw(st.sampled_from(['0.5', '0.7', '1']))}{draw(seeds)}", draw(sizes)


@st.composite
def small_world(draw: st.DrawFn) -> Instance:
    n = draw(st.integers(3, 40))
    neighbors = draw(st.sampled_from([k for k in (2, 4, 6) if k < n and (k > 2 or n < 10)]))
    return f"small-world:{neighbors},{draw(st.sampled_from(['0', '0.1', '0.5']))}{draw(seeds)}", n


@st.composite
def edge_file(draw: st.DrawFn) -> Instance:
    """Write a connected graph, of two nodes or more, into the current folder."""
    n, seed = draw(st.integers(2, 24)), draw(st.integers(0, 10**6))
    tree = nx.random_labeled_tree(n, seed=seed)
    graph = nx.compose(tree, nx.gnp_random_graph(n, 0.1, seed=seed))
    name = f"graph-{n}-{seed}.txt"
    nx.write_edgelist(graph, name, data=False)
    return f"edges:{name}", n


def numbered(graph: nx.Graph) -> nx.Graph:
    """Return the graph on 0..n-1 in the order of its nodes."""
    return nx.convert_node_labels_to_integers(graph, ordering="sorted")


def binary_tree(n: int, _argument: str) -> nx.Graph:
    return nx.full_rary_tree(2, n)


def hypercube(n: int, _argument: str) -> nx.Graph:
    return numbered(nx.hypercube_graph(n.bit_length() - 1)) if n > 1 else nx.empty_graph(1)


def two_cliques(n: int, _argument: str) -> nx.Graph:
    graph = nx.disjoint_union(nx.complete_graph(n // 2), nx.complete_graph(n - n // 2))
    graph.add_edges_from([(n // 2 - 1, n // 2)] if n > 1 else [])
    return graph


FORMS: dict[str, Form] = {
    "alone": plain("static", "alone", lambda n, _: nx.empty_graph(n), connects=False),
    "base-graph:K": with_degree("base-graph", ("base-graph:3", 100_000)),
    "binary-tree": plain("static", "binary-tree", binary_tree, modes=False),
    "chain": plain("static", "chain", lambda n, _: nx.path_graph(n)),
    "complete": plain("static", "complete", lambda n, _: nx.complete_graph(n), scale=None),
    "davis-southern-women": plain(
        "static",
        "davis-southern-women",
        lambda n, _: nx.convert_node_labels_to_integers(nx.davis_southern_women_graph()),
        ns=st.just(32),
        scale=None,
        modes=False,
    ),
    "directed-ring": plain("directed", "directed-ring"),
    "edges:FILE": Form(
        "static",
        edge_file(),
        None,
        lambda _, name: nx.read_edgelist(name, nodetype=int),
        modes=False,
    ),
    "erdos-renyi:P": Form("static", random_graph(), modes=False),
    "exponential": plain("directed", "exponential"),
    "grid:RxC": with_sides("grid", periodic=False),
    "hypercube": plain("static", "hypercube", hypercube, ns=powers_of_two, scale=1 << 17),
    "one-peer-exponential": plain("directed", "one-peer-exponential"),
    "one-peer-hypercube": plain("varying", "one-peer-hypercube", ns=powers_of_two, scale=1 << 17),
    "random-regular:D": Form("fresh", regular()),
    "ring": plain("static", "ring", lambda n, _: nx.cycle_graph(n)),
    "simple-base-graph:K": with_degree("simple-base-graph", ("simple-base-graph:2", 99_991)),
    "small-world:K,P": Form("static", small_world(), modes=False),
    "star": plain("static", "star", lambda n, _: nx.star_graph(n - 1)),
    "torus:RxC": with_sides("torus", periodic=True),
    "two-cliques": plain("static", "two-cliques", two_cliques, scale=None, modes=False),
}


def forms_where(holds: Callable[[Form], object]) -> pytest.MarkDecorator:
    """Return the mark that runs a test for each of the forms of which this holds."""
    return pytest.mark.parametrize("form", [name for name, entry in FORMS.items() if holds(entry)])


every_form = forms_where(lambda entry: True)
few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give edge files a current folder of their own."""
    with contextlib.chdir(tmp_path_factory.mktemp("edges")):
        yield


def drawn(data: st.DataObject, form: str) -> Topology:
    """Return a topology of the form."""
    return from_spec(*data.draw(FORMS[form].instances))


def rounds(topology: Topology, without_period: int = 4) -> range:
    """Return the rounds of a period, or so many of a topology without one."""
    return range(1, 1 + (topology.period or without_period))


def matrices(topology: Topology, without_period: int = 4) -> Iterator[NDArray[np.float64]]:
    return (topology.matrix(round) for round in rounds(topology, without_period))


def edges(topology: Topology, round: int = 1) -> set[tuple[int, int]]:
    """Return (receiver, sender) of all positive weights off the diagonal."""
    pairs = np.argwhere(topology.matrix(round) > 0)
    return {(int(s), int(r)) for s, r in pairs if s != r}


def both_ways(graph: nx.Graph) -> set[tuple[int, int]]:
    return {pair for a, b in graph.edges if a != b for pair in ((a, b), (b, a))}


def assert_same_values(found: NDArray[np.generic], expected: NDArray[np.generic]) -> None:
    """Compare two spectra, whose order means nothing."""
    apart = np.abs(found[:, None] - expected)
    assert apart[linear_sum_assignment(apart)].max() < 1e-9


def test_every_form_is_tested_here() -> None:
    assert tuple(sorted(FORMS)) == topologies.SPECS


# --- the mixing matrix ------------------------------------------------------------------------


@every_form
@few
@given(data=st.data())
def test_w_is_doubly_stochastic_and_keeps_a_share_of_its_own(
    form: str, data: st.DataObject
) -> None:
    topology = drawn(data, form)
    for w in matrices(topology):
        assert w.dtype == np.float64
        assert w.shape == (topology.num_nodes, topology.num_nodes)
        assert w.min() >= 0
        assert np.diag(w).min() > 0
        np.testing.assert_allclose(w.sum(axis=0), 1, rtol=0, atol=1e-12)
        np.testing.assert_allclose(w.sum(axis=1), 1, rtol=0, atol=1e-12)


@every_form
@few
@given(data=st.data(), later=st.integers(0, 100))
def test_rows_readers_and_degree_agree_with_the_matrix(
    form: str, data: st.DataObject, later: int
) -> None:
    topology, round = drawn(data, form), 1 + later
    w = topology.matrix(round)
    for node in range(topology.num_nodes):
        row = topology.weights(node, round)
        assert list(row) == np.flatnonzero(w[node]).tolist()
        assert list(row.values()) == w[node][list(row)].tolist()
        readers = [s for s in np.flatnonzero(w[:, node]).tolist() if s != node]
        assert list(topology.readers(node, round)) == readers
        assert topology.degree(node, round) == len(row) - 1
    sparse = topology.sparse(round)
    assert sparse.nnz == np.count_nonzero(w)
    np.testing.assert_array_equal(sparse.toarray(), w)


@every_form
@few
@given(data=st.data())
def test_max_degree_and_symmetric_are_what_they_say(form: str, data: st.DataObject) -> None:
    topology = drawn(data, form)
    ws = list(matrices(topology))
    assert max(np.count_nonzero(w, axis=1).max() for w in ws) - 1 == topology.max_degree
    assert all((w == w.T).all() for w in ws) == topology.symmetric
    assert topology.symmetric or FORMS[form].kind == "directed"


@every_form
@few
@given(data=st.data())
def test_a_row_can_be_changed_without_changing_the_topology(form: str, data: st.DataObject) -> None:
    topology = drawn(data, form)
    topology.weights(0, 1)[0] = 99.0
    assert topology.weights(0, 1)[0] <= 1.0


# --- rounds -----------------------------------------------------------------------------------


@forms_where(lambda entry: entry.kind != "fresh")
@few
@given(data=st.data())
def test_rounds_repeat_with_the_period_and_not_sooner(form: str, data: st.DataObject) -> None:
    topology = drawn(data, form)
    period = topology.period
    assert FORMS[form].kind != "static" or period == 1
    phases = [topology.matrix(round).tobytes() for round in range(1, 2 * period + 1)]
    assert phases[:period] == phases[period:]
    for shift in (s for s in range(1, period) if period % s == 0):
        assert phases[:period] != phases[shift : shift + period]
    assert [topology.phase(round) for round in range(1, period + 2)] == [*range(period), 0]


@forms_where(lambda entry: entry.kind == "fresh")
@few
@given(data=st.data())
def test_rounds_without_a_period_are_all_different(form: str, data: st.DataObject) -> None:
    spec, n = data.draw(FORMS[form].instances)
    topology = from_spec(spec, n)
    assert topology.period is None
    assert [topology.phase(round) for round in (1, 2, 77)] == [0, 1, 76]
    name, seeded, seed = spec.partition(",seed=")
    other = from_spec(f"{name},seed={int(seed) + 1 if seeded else 5}", n)
    first, second = [[w.tobytes() for w in matrices(t, 16)] for t in (topology, other)]
    if n > 9 and 1 < topology.max_degree < n - 2:  # else there are few such graphs
        assert len({*first, *second}) == 32
    assert first == [topology.matrix(round).tobytes() for round in range(1, 17)]


@every_form
@few
@given(data=st.data())
def test_no_round_is_without_effect(form: str, data: st.DataObject) -> None:
    topology = drawn(data, form)
    if topology.num_nodes > 1 and FORMS[form].connects:
        assert all(edges(topology, round) for round in rounds(topology))


@every_form
@few
@given(data=st.data())
def test_models_reach_every_node_over_a_period(form: str, data: st.DataObject) -> None:
    topology = drawn(data, form)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(topology.num_nodes))
    for round in rounds(topology, ROUNDS):
        graph.add_edges_from(edges(topology, round))
    assert nx.is_strongly_connected(graph) == (FORMS[form].connects or topology.num_nodes == 1)


# --- the graph, its names and its spectrum ----------------------------------------------------


@forms_where(lambda entry: entry.graph)
@few
@given(data=st.data())
def test_edges_are_those_of_networkx(form: str, data: st.DataObject) -> None:
    spec, n = data.draw(FORMS[form].instances)
    graph = FORMS[form].graph
    assert edges(from_spec(spec, n)) == both_ways(graph(n, spec.partition(":")[2]))


@forms_where(lambda entry: entry.kind == "static" and entry.connects)
@few
@given(data=st.data())
def test_other_names_of_the_nodes_only_permute_w(form: str, data: st.DataObject) -> None:
    topology = drawn(data, form)
    w = topology.matrix(1)
    names = [f"node-{i}" for i in data.draw(st.permutations(range(topology.num_nodes)))]
    graph = nx.Graph()
    graph.add_nodes_from(data.draw(st.permutations(names)))
    graph.add_edges_from((names[s], names[r]) for s, r in edges(topology))
    renamed = topologies.from_networkx(graph).matrix(1)
    place = [sorted(names).index(name) for name in names]
    np.testing.assert_allclose(renamed[np.ix_(place, place)], w, rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.eigvalsh(renamed), np.linalg.eigvalsh(w), atol=1e-12)


@forms_where(lambda entry: entry.kind != "fresh")
@few
@given(data=st.data())
def test_modes_are_the_spectrum(form: str, data: st.DataObject) -> None:
    topology = drawn(data, form)
    if topology.modes(1) is None:
        assert not FORMS[form].modes
        return
    n, product, alike = topology.num_nodes, np.eye(topology.num_nodes), True
    eigenvalues, energies = np.ones(n, complex), np.ones(n)
    for round in rounds(topology):
        modes, w = topology.modes(round), topology.matrix(round)
        assert modes.eigenvalues.shape == modes.energies.shape == (n,)
        np.testing.assert_allclose(modes.eigenvalues[0], 1, atol=1e-12)
        assert_same_values(np.linalg.eigvals(w), modes.eigenvalues)
        assert_same_values(np.linalg.svd(w, compute_uv=False) ** 2, modes.energies)
        product, alike = w @ product, alike and modes.alike
        eigenvalues *= modes.eigenvalues
        energies *= modes.energies
    # The phases share one basis: over a period the modes multiply.
    assert_same_values(np.linalg.eigvals(product), eigenvalues)
    np.testing.assert_allclose(np.trace(product @ product.T), energies.sum(), atol=1e-9)
    if alike:
        variances = np.diag(product @ product.T)
        np.testing.assert_allclose(variances, variances.mean(), atol=1e-12)


@every_form
@few
@given(data=st.data())
def test_a_spec_names_its_topology(form: str, data: st.DataObject) -> None:
    topology = drawn(data, form)
    again = from_spec(topology.spec, num_nodes=topology.num_nodes)
    assert again == topology
    for first, second in zip(matrices(topology), matrices(again), strict=True):
        np.testing.assert_array_equal(first, second)


# --- many nodes, and none ---------------------------------------------------------------------


@forms_where(lambda entry: entry.at_scale)
def test_a_sparse_row_needs_no_memory_for_all_nodes(form: str) -> None:
    spec, n = FORMS[form].at_scale
    tracemalloc.start()
    try:
        topology = from_spec(spec, num_nodes=n)
        topology.weights(n // 2, 3)  # a star looks once at its centre
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        for node in (1, n // 3, n - 1):
            for round in rounds(topology):
                assert len(topology.weights(node, round)) <= 18
                assert len(topology.readers(node, round)) <= 17
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < n  # bytes: less than one for each node


@pytest.mark.parametrize("spec", ["complete", "star", "two-cliques"])
def test_a_dense_row_costs_no_more_than_its_length(spec: str) -> None:
    topology = from_spec(spec, num_nodes=50_000)  # n^2 steps would take minutes
    row = topology.weights(0, 1)
    assert len(row) == topology.degree(0, 1) + 1 >= 25_000
    np.testing.assert_allclose(sum(row.values()), 1, atol=1e-9)
    from_spec(spec, num_nodes=10**12)  # whose rows nobody asks for


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("n", ["8", None, 9.5, True])
def test_a_number_of_nodes_that_is_none_is_refused(form: str, n: object) -> None:
    name, colon, arguments = form.partition(":")
    spec = f"{name}:2,0.5" if "," in arguments else f"{name}:1" if colon else name
    if "RxC" in form:
        spec = f"{name}:2x4"
    with pytest.raises(PlanError, match=f"num_nodes is {n}|num_nodes is '{n}'"):
        from_spec(spec, num_nodes=n)  # type: ignore[arg-type]


@every_form
@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_nodes_work_or_are_refused_with_a_reason(form: str, n: int) -> None:
    name, colon, _ = form.partition(":")
    Path("one-edge.txt").write_text("0 1" if n == 2 else "# none")
    arguments = {
        "edges": "one-edge.txt",
        "erdos-renyi": "0.9",
        "grid": f"1x{n}",
        "torus": f"1x{n}",
        "small-world": "2,0.1",
    }
    spec = f"{name}:{arguments.get(name, 1)}" if colon else form
    try:
        topology = from_spec(spec, num_nodes=n)
    except PlanError as error:
        assert name in {"davis-southern-women", "random-regular", "small-world"}
        assert f"num_nodes is {n}" in str(error)
        return
    share = 1 / n if FORMS[form].connects else 1.0
    assert topology.weights(0, 1)[0] == share
    assert topology.max_degree == (n - 1 if FORMS[form].connects else 0)


@pytest.mark.parametrize(
    "form", sorted({*FORMS} - {"davis-southern-women", "grid:RxC", "torus:RxC"})
)
@pytest.mark.parametrize("n", [0, -1, -7])
def test_sizes_below_one_are_refused(form: str, n: int) -> None:
    name, _, arguments = form.partition(":")
    spec = f"{name}:2,0.5" if "," in arguments else f"{name}:1" if arguments else name
    with pytest.raises(PlanError, match=f"{name}.*: num_nodes is {n}, allowed is a whole number"):
        from_spec(spec, num_nodes=n)


@every_form
@few
@given(data=st.data(), beyond=st.sampled_from([-1, 0, 100]))
def test_nodes_outside_are_refused(form: str, data: st.DataObject, beyond: int) -> None:
    topology = drawn(data, form)
    node = beyond if beyond < 0 else topology.num_nodes + beyond
    for ask in (topology.weights, topology.readers, topology.degree):
        with pytest.raises(PlanError, match=rf"node is {node}, allowed is 0\.\."):
            ask(node, 1)
