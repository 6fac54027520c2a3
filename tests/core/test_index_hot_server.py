"""A server that chooses its workers itself is out as a whole where it is hot."""

from ladle.core.index import _pick_together
from ladle.core.rows import Worker
from ladle.core.view import View


def test_a_hot_server_offers_nothing() -> None:
    view = View()
    hot = [Worker("a", "0", cpu_permille=900), Worker("a", "1", cpu_permille=900)]
    assert _pick_together(view, "a", hot) == []
    cool = [Worker("a", "0", cpu_permille=100), Worker("a", "1", cpu_permille=100)]
    assert len(_pick_together(view, "a", cool)) == 1
