"""Which image a row means."""

from hypothesis import given
from hypothesis import strategies as st

from bench.data.matching import SEVERAL, places_of

PART = st.sampled_from(["a", "b", "c"])
PATH = st.lists(PART, min_size=1, max_size=3).map("/".join)


@given(st.lists(PATH.map(lambda path: f"{path}.png"), unique=True, min_size=1, max_size=12), PATH, st.booleans())
def test_a_row_finds_an_image_only_if_one_path_ends_with_the_other(paths, wanted, with_suffix):
    text = f"{wanted}.png" if with_suffix else wanted
    (place,) = places_of([text], paths)

    def ends(whole: str, end: str) -> bool:
        return f"/{whole}".endswith(f"/{end}")

    meant = [i for i, path in enumerate(paths) if f"{wanted}.png" == path]
    longer = [i for i, path in enumerate(paths) if ends(path, f"{wanted}.png")]
    shorter = [i for i, path in enumerate(paths) if ends(f"{wanted}.png", path)]
    if meant:
        assert place == meant[0]
    elif longer:
        assert place == (longer[0] if len(longer) == 1 else SEVERAL)
    elif shorter:
        assert place == max(shorter, key=lambda i: len(paths[i]))
    else:
        assert place == -1
