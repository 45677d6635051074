"""The columns of one Parquet file."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from bench.data import images
from bench.errors import UserError
from tests.bench.data.builders import IMAGE, encoded, parquet, picture, stacked


def test_parquet_labels_without_names_become_classes_in_order(tmp_path):
    parquet(tmp_path / "train.parquet", [7, 3, 7, 3])
    parquet(tmp_path / "test.parquet", [3, 100])
    dataset = images.load(tmp_path)
    assert dataset.classes == ("3", "7", "100")
    assert dataset.train.labels.tolist() == [1, 0, 1, 0]
    assert dataset.test.labels.tolist() == [0, 2]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_parquet_labels_may_be_strings(tmp_path, kind):
    labels = ["cat", "ant", None, "cat", ""]
    parquet(tmp_path / "train.parquet", [0] * 5, label=pa.array(labels).cast(kind), caption=pa.array(labels))
    parquet(tmp_path / "test.parquet", [0] * 2, label=pa.array(["bee", "ant"]).cast(kind))
    dataset = images.load(tmp_path)
    assert dataset.classes == ("ant", "bee", "cat")
    assert dataset.train.labels.tolist() == [2, 0, -1, 2, -1]
    assert dataset.test.labels.tolist() == [1, 0]
    assert dataset.train.labels.dtype == torch.int64


def test_parquet_labels_may_be_booleans(tmp_path):
    parquet(tmp_path / "train.parquet", [0] * 3, label=pa.array([True, False, None]))
    parquet(tmp_path / "test.parquet", [0] * 2, label=pa.array([True, False]))
    dataset = images.load(tmp_path)
    assert dataset.classes == ("false", "true")
    assert dataset.train.labels.tolist() == [1, 0, -1]


def test_among_several_label_columns_the_first_with_class_names_counts(tmp_path):
    labels = {"fine_label": pa.array([4, 0, 2, 4]), "coarse_label": pa.array([0, 0, 1, 0]), "label": None}
    classes = {
        "fine_label": {"names": list("abcde"), "_type": "ClassLabel"},
        "coarse_label": {"names": list("xy"), "_type": "ClassLabel"},
    }
    parquet(tmp_path / "train.parquet", [0] * 4, **labels)
    table = pq.read_table(tmp_path / "train.parquet")
    metadata = {"huggingface": json.dumps({"info": {"features": classes}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "train.parquet")
    parquet(tmp_path / "test.parquet", [0] * 4, **labels)
    dataset = images.load(tmp_path)
    assert dataset.classes == tuple("abcde")
    assert dataset.train.labels.tolist() == [4, 0, 2, 4]


@pytest.mark.parametrize(
    ("columns", "classes"),
    [
        ({"class": ["b", "a", "b", "a"], "__index_level_0__": [0, 1, 2, 3]}, ("a", "b")),
        ({"category": ["b", "a", "b", "a"], "image_id": [9, 8, 7, 6]}, ("a", "b")),
        ({"Label": ["b", "a", "b", "a"], "width": [16, 16, 16, 16]}, ("a", "b")),
        ({"target": [5, 3, 5, 3], "id": [0, 1, 2, 3]}, ("3", "5")),
        ({"label": [1.0, 0.0, 1.0, None], "image_id": [0, 1, 2, 3]}, ("0", "1")),
        ({"label": [1.0, 0.0, 1.0, float("nan")]}, ("0", "1")),
        ({"digit": [1, 0, 1, 0], "row": [0, 1, 2, 3]}, ("0", "1")),
    ],
)
def test_a_column_that_numbers_the_images_is_never_the_label(tmp_path, columns, classes):
    for split in ("train", "test"):
        arrays = {name: pa.array(values) for name, values in columns.items()}
        parquet(tmp_path / f"{split}.parquet", [0] * 4, label=arrays.pop("label", None), **arrays)
    dataset = images.load(tmp_path)
    assert dataset.classes == classes
    assert dataset.train.labels.tolist()[:3] == [1, 0, 1]


NO_LABELS = {
    "an id": (
        {"image_id": [4, 3, 2, 1], "title": ["a", "b", "c", "d"]},
        "no column of integers but image_id, which does not look like labels",
    ),
    "an index": ({"__index_level_0__": [4, 3, 2, 1], "text": ["", "", "", ""]}, "does not look like labels"),
    "numbers": ({"serial": [4, 3, 2, 1]}, "'serial' .* its only one of integers, has 4 values in 4 rows"),
    "lists": ({"label": [[1], [0, 1], [1], [0]], "image_id": [4, 3, 2, 1]}, "'label' .* has lists, of 2 things in one"),
    "fractions": ({"label": [0.5, 1.5, 0.5, 1.5]}, "'label' .* holds fractions"),
    "endless numbers": ({"label": [0.0, float("inf"), 1.0, 1e300]}, "'label' .* holds fractions"),
    "a caption": ({"text": ["a", "b", "a", "b"]}, "no column of integers; labels"),
}


@pytest.mark.parametrize(("columns", "message"), NO_LABELS.values(), ids=NO_LABELS)
def test_where_no_column_is_clearly_the_label_one_line_asks(tmp_path, columns, message):
    arrays = {name: pa.array(values) for name, values in columns.items()}
    parquet(tmp_path / "train.parquet", [0] * 4, label=arrays.pop("label", None), **arrays)
    with pytest.raises(UserError, match=message) as error:
        images.load(tmp_path)
    assert "\n" not in str(error.value)


def test_parquet_views_are_read(tmp_path):
    arrays = [picture(number) for number in range(6)]
    kind = pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())])
    cells = pa.array([{"bytes": encoded(array), "path": "x.png"} for array in arrays], kind)
    parquet(tmp_path / "train.parquet", [0] * 6, label=pa.array(["b", "a"] * 3, pa.string_view()), img=cells)
    parquet(tmp_path / "test.parquet", [0] * 2, label=pa.array(["b", "a"], pa.string_view()))
    dataset = images.load(tmp_path)
    assert torch.equal(dataset.train.pixels, stacked(arrays))
    assert dataset.train.labels.tolist() == [1, 0] * 3


@pytest.mark.parametrize(
    "features", ["[]", '{"label": {"names": 5}}', '{"label": ["x"]}', '{"label": {"names": ["\\ud800"]}}']
)
def test_strange_metadata_do_no_harm(tmp_path, features):
    parquet(tmp_path / "train.parquet", [0, 0, 0, 1, 1, 1])
    table = pq.read_table(tmp_path / "train.parquet")
    metadata = {"huggingface": '{"info": {"features": ' + features + "}}"}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "train.parquet")
    if "ud800" in features:
        with pytest.raises(UserError, match="names only 1 classes"):
            images.load(tmp_path)
    else:
        assert images.load(tmp_path).classes == ("0", "1")


def test_a_damaged_image_in_parquet_is_named_by_row_and_path(tmp_path):
    parquet(tmp_path / "data" / "test.parquet", [0, 1])
    cells = [{"bytes": encoded(picture(i)), "path": f"{i}.png"} for i in range(9)]
    cells[4]["bytes"] = cells[4]["bytes"][:60]
    cells[6] = {"bytes": None, "path": "elsewhere.png"}
    cells[8] = None
    parquet(tmp_path / "data" / "train.parquet", [0, 1, 0] * 3, img=pa.array(cells, IMAGE))
    dataset = images.load(tmp_path)
    assert [line.split(": ")[0] for line in dataset.skipped] == [
        "data/train.parquet row 4 (4.png)",
        "data/train.parquet row 6 (elsewhere.png)",
        "data/train.parquet row 8",
    ]
    assert dataset.train.labels.tolist() == [0, 1, 0, 0, 0, 1]
