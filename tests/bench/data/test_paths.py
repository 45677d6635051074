"""Many paths below a root."""

from pathlib import PurePath

from hypothesis import given
from hypothesis import strategies as st

from bench.data.paths import Paths, join

NAMES = st.sampled_from(["a", "b", "B", "é", "a.png", "a-b"])
FILES = st.lists(st.tuples(st.lists(NAMES, max_size=3).map(tuple), NAMES), max_size=12, unique=True)


@given(FILES, st.integers(0, 12))
def test_paths_are_those_of_the_files_and_are_sorted_as_paths_are(files, split):
    paths = Paths(files)
    expected = [PurePath(*place, name) for place, name in files]
    assert [*paths] == [str(path) for path in expected] == paths[:]
    assert paths[1:5:2] == [*paths][1:5:2]
    both = {"x": Paths(files[:split])}
    join(both, {"x": Paths(files[split:])})
    assert [*both["x"]] == [str(path) for path in sorted(expected)]
