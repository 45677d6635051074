"""Pictures that stand more than once, against a truth that the tests make."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from bench.data import duplicates, shapes
from bench.data.dataset import Split
from tests.bench.data.builders import stacked

NAMES = (lambda place: f"train/{place}", lambda place: f"test/{place}")
CLASSES = ("cat", "dog", "owl")


def photograph(seed: int, size: int = 32) -> np.ndarray:
    """uint8 [size, size, 3]: coloured noise of the spectrum that photographs have, 1 / frequency."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    spectrum = np.fft.fft2(random.standard_normal((3, size, size))) / np.maximum(frequency, 1 / size)
    noise = np.fft.ifft2(spectrum).real.transpose(1, 2, 0)
    tint = noise.mean(2, keepdims=True) + 0.4 * (noise - noise.mean(2, keepdims=True))
    return np.clip(128 + 45 * tint / tint.std(), 0, 255).astype(np.uint8)


def split(pictures: list[np.ndarray], labels: list[int]) -> Split:
    return Split.of(stacked(pictures), torch.tensor(labels))


def find(train: Split, test: Split) -> duplicates.Duplicates:
    return duplicates.find(train, test, CLASSES, NAMES)


def told(found: duplicates.Duplicates, words: str) -> str:
    (remark,) = (remark for remark in found.remarks if words in remark)
    return remark


IMAGES = st.lists(st.tuples(st.integers(0, 11), st.integers(-1, 2)), min_size=1, max_size=30)
"""Of each image, which picture it shows and its label."""


@settings(max_examples=60)
@given(train=IMAGES, test=IMAGES, channels=st.sampled_from([1, 3, 5]), size=st.integers(8, 11))
def test_exact_duplicates_are_those_of_the_pixels_and_what_is_dropped_follows_from_them(train, test, channels, size):
    known = torch.randint(0, 256, (12, channels, size, size), generator=torch.Generator().manual_seed(size)).byte()
    # The least difference makes another picture; the thumbnails of two pictures of noise are never alike.
    known[1] = known[0]
    known[1, -1, -1, -1] ^= 1
    found = duplicates.find(
        *(
            Split.of(known[[shown for shown, _ in of]], torch.tensor([label for _, label in of]))
            for of in (train, test)
        ),
        CLASSES,
        NAMES,
    )
    shown_in_test, labels_of = {shown for shown, _ in test}, {}
    for shown, label in [*train, *test]:
        labels_of.setdefault(shown, set()).update({label} - {-1})
    several = {shown for shown, labels in labels_of.items() if len(labels) > 1}
    dropped, kept_of, copies = set(), {}, 0
    for place, (shown, _) in sorted(enumerate(train), key=lambda item: (item[1][1] < 0, item[0])):
        again = kept_of.setdefault(shown, place) != place
        copies += again and shown not in shown_in_test
        near = (shown in (0, 1)) and bool(shown_in_test & {0, 1})
        if again or shown in shown_in_test or shown in several or near:
            dropped.add(place)
    assert found.dropped.tolist() == sorted(dropped)
    twice = [place for place, (shown, _) in enumerate(test) if shown in {shown for shown, _ in train}]
    if twice:
        assert told(found, "pixel by pixel: test").startswith(f"{len(twice)} of {len(test)} test image")
        first = min((label < 0, place) for place, (shown, label) in enumerate(train) if shown == test[twice[0]][0])[1]
        assert f"test/{twice[0]} is train/{first}" in told(found, "pixel by pixel: test")
    if copies:
        assert told(found, "copies of others").startswith(f"{copies} training image")
    if several:
        assert told(found, "more than one label").startswith(f"{len(several)} picture")
    assert len(found.remarks) >= bool(twice) + bool(copies) + bool(several)
    if not twice and not copies and not several and not {shown for shown, _ in [*train, *test]} & {0}:
        assert found.remarks == ()


def test_a_picture_with_two_labels_is_named_with_its_classes():
    pictures = [photograph(seed) for seed in range(3)]
    found = find(split([*pictures, pictures[1]], [0, 1, 2, 0]), split([photograph(9), pictures[0]], [0, 2]))
    assert told(found, "more than one label") == (
        "2 pictures with more than one label, of which one at most is right: train/0 (cat) and test/1 (owl), "
        "train/1 (dog) and train/3 (cat)"
    )
    assert found.dropped.tolist() == [0, 1, 3]


def jpeg(quality: int):
    def changed(picture: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return changed


def half_and_back(picture: np.ndarray) -> np.ndarray:
    image = Image.fromarray(picture)
    return np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC).resize((32, 32), Image.Resampling.BICUBIC))


def brighter(factor: float):
    return lambda picture: np.asarray(ImageEnhance.Brightness(Image.fromarray(picture)).enhance(factor))


@pytest.mark.parametrize(
    "change", [jpeg(50), jpeg(75), half_and_back, brighter(1.1), brighter(0.9)], ids=["50", "75", "half", "+", "-"]
)
def test_what_was_compressed_resized_or_brightened_is_nearly_the_same_and_nothing_else_is(change):
    pictures = [photograph(seed) for seed in range(80)]
    train = split(pictures[:60], [0, 1] * 30)
    test = split([change(picture) for picture in pictures[40:]], [0, 1] * 20)
    found = find(train, test)
    assert found.dropped.tolist() == [*range(40, 60)]
    assert told(found, "nearly") == (
        "20 of 40 test images look nearly like training images, as if compressed, resized or brightened: "
        "test/0 is like train/40, test/1 is like train/41, test/2 is like train/42 and 17 more"
    )


def test_of_several_the_first_is_named_and_what_is_exactly_the_same_is_not_said_to_be_nearly_so():
    pictures = [photograph(seed) for seed in range(3)]
    lighter = [brighter(factor)(pictures[0]) for factor in (0.9, 1.1)]
    found = find(split([pictures[1], *lighter, pictures[2], lighter[0]], [0] * 5), split(pictures[:2], [0, 0]))
    assert found.remarks[:2] == (
        "1 of 2 test images are training images too, pixel by pixel: test/1 is train/0",
        "1 of 2 test images look nearly like training images, as if compressed, resized or brightened: "
        "test/0 is like train/1",
    )
    assert found.dropped.tolist() == [0, 1, 2, 4]
    found = find(split([lighter[0], pictures[0]], [0, 0]), split(pictures[:1], [0]))
    assert found.remarks == ("1 of 1 test image are training images too, pixel by pixel: test/0 is train/1",)
    assert found.dropped.tolist() == [0, 1]


def test_without_names_they_are_counted():
    pictures = [photograph(seed) for seed in range(4)]
    found = duplicates.find(split(pictures, [0, 1, 0, 1]), split(pictures[:2], [0, 1]), CLASSES)
    assert found.remarks == ("2 of 2 test images are training images too, pixel by pixel",)


def test_pictures_with_next_to_no_contrast_are_like_nothing():
    def sky(faintness: int, spot: int) -> np.ndarray:
        picture = np.full((16, 16, 3), 128, dtype=np.uint8)
        picture[8:] += faintness
        picture[spot] += 1
        return picture

    faint, strong = ([sky(of, spot) for spot in range(8)] for of in (3, 60))
    assert find(split(faint[:4], [0] * 4), split(faint[4:], [0] * 4)).remarks == ()
    assert find(split(strong[:4], [0] * 4), split(strong[4:], [0] * 4)).dropped.tolist() == [*range(4)]


def test_textures_that_were_drawn_each_for_itself_are_not_nearly_the_same():
    source = shapes.source()
    assert duplicates.find(source.train, source.test, source.classes).remarks == ()


def test_of_too_many_test_images_a_part_is_looked_for_and_that_is_said(monkeypatch):
    pictures = [photograph(seed) for seed in range(8)]
    train, test = split(pictures, [0, 1] * 4), split([brighter(0.9)(picture) for picture in pictures], [0, 1] * 4)
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 8 * 4)
    found = find(train, test)
    assert found.dropped.tolist() == [0, 2, 4, 6]
    assert told(found, "nearly").startswith("4 of the 4 of 8 test images that were looked for look nearly")


def test_parts_of_any_size_find_the_same(monkeypatch):
    pictures = [photograph(seed) for seed in range(30)]
    train = split([*pictures[:20], pictures[3]], [0] * 21)
    test = split([*pictures[18:], jpeg(75)(pictures[5])], [0] * 13)
    whole = find(train, test)
    monkeypatch.setattr("bench.data.dataset.PART", 3 * 32 * 32 * 7)
    monkeypatch.setattr(duplicates, "BLOCK", 2 * len(test))
    parted = find(train, test)
    assert whole.remarks == parted.remarks
    assert whole.dropped.tolist() == parted.dropped.tolist() == [5, 18, 19, 20]
