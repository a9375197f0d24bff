"""Results that are kept: all of them, till they are too many elements."""

from flwr_gossip.server_free.recent import MOST_TERMS, Recent


def test_what_is_kept_is_bounded_by_its_elements_and_the_newest_is_there() -> None:
    recent: Recent[range] = Recent()
    sizes = [10, MOST_TERMS // 2, 0, MOST_TERMS // 2, 2 * MOST_TERMS, 3]
    for key, size in enumerate(sizes):
        assert recent.keep(key, range(size)) == range(size)
        assert recent.get(key) == range(size)
        held = [value for k in range(len(sizes)) if (value := recent.get(k)) is not None]
        assert sum(map(len, held)) <= max(MOST_TERMS, size)
    assert recent.get("never") is None
