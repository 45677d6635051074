"""Labels of a file and the images that they are of."""

import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest

from bench.data import images
from bench.data.source import Asked
from bench.errors import UserError
from tests.bench.data.numbered import cells, found, labels_of, numbered, table, written

PATHS = ["a/1.png", "a/2.png", "b/3.png", "b/deep/4.png", "5.png"]


def folder(tmp_path: Path, paths=PATHS) -> Path:
    """Images with the numbers 1, 2, ... in the order of their paths."""
    for number, path in enumerate(paths, 1):
        written(tmp_path / "set" / path, number)
    return tmp_path / "set"


def labels(tmp_path: Path, rows, header: str = "path,label", name: str = "labels.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


WAYS = {
    "paths": lambda path: path,
    "without suffix": lambda path: path.removesuffix(".png"),
    "base names": lambda path: path.split("/")[-1],
    "base names without suffix": lambda path: path.split("/")[-1].removesuffix(".png"),
    "backslashes": lambda path: path.replace("/", "\\"),
    "a dot before": lambda path: f"./{path}",
    "more folders before": lambda path: f"../somewhere/set/{path}",
    "an absolute path": lambda path: f"/home/me/data/{path}",
    "a drive": lambda path: f"C:\\data\\{path}",
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_rows_name_images_in_every_way_that_people_write_them(tmp_path, way):
    root = folder(tmp_path)
    file = labels(tmp_path, [(way(path), "xy"[i % 2]) for i, path in enumerate(PATHS)])
    source = found(root, labels=file)
    assert source.classes == ("x", "y")
    assert labels_of(source) == {1: "x", 2: "y", 3: "x", 4: "y", 5: "x"}
    assert "labels.csv labels 5 of 5 images, and nothing else does" in source.remarks


def test_only_the_rows_are_labels_and_rows_of_no_image_are_counted(tmp_path):
    root = folder(tmp_path)
    file = labels(tmp_path, [("a/1.png", "x"), ("5.png", "y"), ("b/3.png", ""), ("c/1.png", "x"), ("9.png", "x")])
    source = found(root, labels=file)
    assert labels_of(source) == {1: "x", 2: None, 3: None, 4: None, 5: "y"}
    assert "labels.csv labels 2 of 5 images, and nothing else does" in source.remarks
    assert "2 rows of labels.csv name no image here, such as c/1.png, 9.png" in source.remarks


def test_a_row_of_another_folder_never_labels_an_image_with_the_same_base_name(tmp_path):
    root = folder(tmp_path, ["a/1.png", "a/2.png"])
    file = labels(tmp_path, [("a/1.png", "x"), ("b/2.png", "y"), ("c/2", "y")])
    assert labels_of(found(root, labels=file)) == {1: "x", 2: None}


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_and_labels_in_two_unicode_forms_are_the_same(tmp_path, forms):
    of_file, of_row = (unicodedata.normalize(form, "köln.png") for form in forms)
    root = folder(tmp_path, [of_file, "2.png"])
    file = labels(tmp_path, [(of_row, unicodedata.normalize("NFD", "ä")), ("2", "ä")])
    source = found(root, labels=file)
    assert (source.classes, labels_of(source)) == (("ä",), {1: "ä", 2: "ä"})


def test_the_splits_of_folders_stay_and_test_images_get_labels_too(tmp_path):
    root = folder(tmp_path, ["train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png"])
    file = labels(tmp_path, [("train/a/1.png", "x"), ("2", "y"), ("test/a/3.png", "y")])
    source = found(root, labels=file)
    assert labels_of(source) == {1: "x", 2: "y"}
    assert labels_of(source, "test") == {3: "y", 4: None}


REFUSED = {
    "several images": ([("1.png", "x")], "names 1.png, which may be a/1.png, b/1.png; give the path of each"),
    "several without suffix": ([("a/2", "x")], "names a/2, which may be a/2.jpeg, a/2.png"),
    "two labels": ([("a/1.png", "x"), ("a/1", "y")], "gives a/1.png two labels: 'x' and 'y'"),
    "nothing": (
        [("id7", "x"), ("id8", "y")],
        "no row of .*labels.csv names an image of .*set: its column 'path' has such as id7, id8, and the images are "
        "such as a/1.png, a/2.jpeg and 2 more",
    ),
}


@pytest.mark.parametrize(("rows", "message"), REFUSED.values(), ids=REFUSED)
def test_rows_that_do_not_say_which_image_or_label_are_told(tmp_path, rows, message):
    root = folder(tmp_path, ["a/1.png", "a/2.jpeg", "a/2.png", "b/1.png"])
    with pytest.raises(UserError, match=message) as error:
        found(root, labels=labels(tmp_path, rows))
    assert "\n" not in str(error.value)


def test_the_same_label_twice_or_an_empty_one_beside_it_is_no_contradiction(tmp_path):
    root = folder(tmp_path)
    file = labels(tmp_path, [("a/1.png", "x"), ("a/1", "x"), ("a/1.png", ""), ("a/2.png", ""), ("2", "y")])
    assert labels_of(found(root, labels=file)) == {1: "x", 2: "y", 3: None, 4: None, 5: None}


@pytest.mark.parametrize(
    ("given", "classes", "none"),
    [
        (["10", "9", "007"], ("007", "9", "10"), False),
        (["-1", "1", "0"], ("0", "1"), True),
        (["-1", "b", "a"], ("-1", "a", "b"), False),
        (["NA", "null", "nan"], ("NA", "nan", "null"), False),
    ],
)
def test_numbers_are_in_their_order_and_kept_as_they_are_written(tmp_path, given, classes, none):
    root = folder(tmp_path)
    source = found(root, labels=labels(tmp_path, zip(PATHS, given, strict=False)))
    assert source.classes == classes
    expected = [None if none and label == "-1" else label for label in given]
    assert [labels_of(source)[number] for number in (1, 2, 3)] == expected
    assert ("1 label of -1 count as none" in source.remarks) == none


def test_a_column_of_splits_is_followed_where_folders_have_none(tmp_path):
    root = folder(tmp_path)
    rows = [("a/1.png", "x", "train"), ("a/2.png", "y", "TEST"), ("3", "y", "train"), ("4", "x", "val")]
    source = found(root, labels=labels(tmp_path, rows, "path,label,split"))
    assert labels_of(source) == {1: "x", 3: "y", 5: None}
    assert labels_of(source, "test") == {2: "y"}
    assert "validation images left out" in source.note
    assert list(source.train.names) == ["5.png", "a/1.png", "b/3.png"]
    assert source.train.stamp != source.test.stamp


@pytest.mark.parametrize("word", ["fold3", "test"])
def test_splits_that_are_not_understood_are_told_and_not_followed(tmp_path, word):
    root = folder(tmp_path)
    rows = [("a/1.png", "x", word), ("a/2.png", "y", "test")]
    source = found(root, labels=labels(tmp_path, rows, "path,label,split"))
    assert source.test is None
    assert labels_of(source) == {1: "x", 2: "y", 3: None, 4: None, 5: None}
    assert any(
        "the splits in labels.csv are not followed: it should say train, test" in each for each in source.remarks
    )


def test_a_column_of_the_file_groups_images(tmp_path):
    root = folder(tmp_path)
    rows = [("a/1.png", "x", "p1"), ("a/2.png", "y", ""), ("3", "y", "p1")]
    file = labels(tmp_path, rows, "path,label,patient")
    source = found(root, labels=file, group="patient")
    assert dict(zip(labels_of(source), source.train.groups, strict=True)) == {1: "p1", 2: "", 3: "p1", 4: "", 5: ""}
    with pytest.raises(UserError, match=r"no column 'slide' .*labels.csv has the columns path, label, patient"):
        found(root, labels=file, group="slide")
    with pytest.raises(
        UserError, match=r"no column 'patient' .* has no columns; give a table as --labels, or --group-by"
    ):
        found(root, group="patient", unlabelled=True)


def of_parquet(tmp_path: Path, **columns) -> Path:
    """Images 0 to 5 in two files."""
    for part in range(2):
        own = {name: values[3 * part : 3 * part + 3] for name, values in columns.items()}
        numbers = range(3 * part, 3 * part + 3)
        table(tmp_path / "set" / f"train-{part}.parquet", {"image": cells(numbers), "label": [1, 1, 1], **own})
    return tmp_path / "set"


PARQUET = {
    "paths": ([("0.png", "x"), ("4", "y")], "path,label"),
    "rows": ([("0", "x"), ("4", "y")], "row,label"),
    "ids": ([("i0", "x"), ("i4", "y")], "image_id,label"),
    "numbers": ([("10", "x"), ("14", "y")], "id,label"),
}


@pytest.mark.parametrize(("rows", "header"), PARQUET.values(), ids=PARQUET)
def test_rows_name_images_in_parquet_by_path_row_or_a_column_of_theirs(tmp_path, rows, header):
    root = of_parquet(tmp_path, image_id=[f"i{i}" for i in range(6)], id=range(10, 16))
    source = found(root, labels=labels(tmp_path, rows, header))
    assert labels_of(source) == {0: "x", 1: None, 2: None, 3: None, 4: "y", 5: None}
    assert source.train.names[4] == "4.png"


def test_labels_of_parquet_images_may_be_parquet_beside_them_and_groups_stay_those_of_the_images(tmp_path):
    root = of_parquet(tmp_path, patient=list("aabbcc"))
    file = table(root / "labels.parquet", {"image": ["1.png", "2.png"], "class": ["x", "y"]})
    source = found(root, labels=file, group="patient")
    assert labels_of(source) == {0: None, 1: "x", 2: "y", 3: None, 4: None, 5: None}
    assert list(source.train.groups) == list("aabbcc")


def test_images_without_paths_are_named_by_rows(tmp_path):
    table(tmp_path / "set" / "train.parquet", {"image": pa.array([numbered(7), numbered(8)])})
    source = found(tmp_path / "set", labels=labels(tmp_path, [("1", "x")], "index,label"))
    assert labels_of(source) == {7: None, 8: "x"}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("in_splits", [False, True])
def test_metadata_that_hugging_face_puts_beside_images_are_labels(tmp_path, kind, in_splits):
    root = folder(tmp_path, ["train/1.png", "train/2.png", "test/3.png", "test/4.png"])
    rows = {"train/1.png": "x", "train/2.png": "y", "test/3.png": "y", "test/4.png": "x"}
    for place in ("train", "test") if in_splits else ("",):
        own = {path.removeprefix(f"{place}/"): label for path, label in rows.items() if path.startswith(place)}
        if kind == "csv":
            labels(root / place, own.items(), "file_name,label", "metadata.csv")
        elif kind == "jsonl":
            lines = [f'{{"file_name": "{path}", "label": "{label}"}}' for path, label in own.items()]
            (root / place / "metadata.jsonl").write_text("\n".join(lines))
        else:
            table(root / place / "metadata.parquet", {"file_name": [*own], "label": [*own.values()]})
    source = found(root)
    assert labels_of(source) == {1: "x", 2: "y"}
    assert labels_of(source, "test") == {3: "y", 4: "x"}
    assert not any("passed over" in remark for remark in source.remarks)
    assert found(root, unlabelled=True).classes == ()


def test_a_file_that_may_be_of_labels_is_told_and_not_taken(tmp_path):
    table(tmp_path / "train.parquet", {"image": cells([1, 2])})
    labels(tmp_path, [("1.png", "x"), ("2.png", "y")], name="train.csv")
    source = found(tmp_path)
    assert source.classes == ()
    assert f"{tmp_path / 'train.csv'} looks like a file of labels; to use it, give it as --labels" in source.remarks


def test_a_data_set_is_loaded_with_the_labels_of_a_file(tmp_path):
    paths = [f"{name}/{number}.png" for name in "pq" for number in range(20)]
    root = folder(tmp_path, paths)
    file = labels(tmp_path, [(path, "xy"[number % 2]) for number, path in enumerate(paths[:30], 1)])
    dataset = images.load(root, asked=Asked(labels=file))
    assert dataset.classes == ("x", "y")
    for split, count in ((dataset.train, 24 + 10), (dataset.test, 6)):
        numbers = split.pixels[:, 1, 0, 0].tolist()
        assert len(numbers) == count
        assert split.labels.tolist() == [number % 2 if number <= 30 else -1 for number in numbers]
