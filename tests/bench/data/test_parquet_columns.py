"""Which columns of Parquet files hold images and labels, and what is in them."""

import base64
import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.parquet_cells import storage
from bench.errors import UserError
from tests.bench.data.numbered import cells, found, labels_of, number_of, numbered, numbers_in, table, written

NUMBERS = list(range(300, 320))
TRUTH = {number: "ab"[number % 2] for number in NUMBERS}
LABELS = pa.array(list(TRUTH.values()))
BYTES = [numbered(number) for number in NUMBERS]


def struct(*fields) -> pa.DataType:
    return pa.struct(fields)


class OfImages(pa.ExtensionType):
    def __init__(self):
        super().__init__(struct(("bytes", pa.binary()), ("path", pa.string())), "tests.of_images")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, _storage, _serialized):
        return cls()


@pytest.fixture
def extension():
    pa.register_extension_type(OfImages())
    yield pa.ExtensionArray.from_storage(OfImages(), cells(NUMBERS))
    pa.unregister_extension_type("tests.of_images")


KINDS = {
    "structures": cells(NUMBERS),
    "more fields in another order": cells(
        NUMBERS, struct(("width", pa.int32()), ("path", pa.string()), ("bytes", pa.binary()))
    ),
    "structures of views": cells(NUMBERS, struct(("bytes", pa.binary_view()), ("path", pa.string_view()))),
    "large ones": cells(NUMBERS, struct(("bytes", pa.large_binary()), ("path", pa.large_string()))),
    "structures of bytes alone": cells(NUMBERS, struct(("bytes", pa.binary()))),
    "bytes": pa.array(BYTES),
    "large bytes": pa.array(BYTES, pa.large_binary()),
    "views of bytes": pa.array(BYTES, pa.binary_view()),
    "a dictionary of bytes": pa.array(BYTES).dictionary_encode(),
    "lists of one structure": pa.array([[cell] for cell in cells(NUMBERS).to_pylist()]),
    "lists of one": pa.array([[each] for each in BYTES], pa.large_list(pa.binary())),
    "lists of a fixed size": pa.array([[each] for each in BYTES], pa.list_(pa.binary(), 1)),
    "base64": pa.array([base64.b64encode(each).decode() for each in BYTES]),
    "data: URLs": pa.array([f"data:image/png;base64,{base64.b64encode(each).decode()}" for each in BYTES]),
}


@pytest.mark.parametrize("image", KINDS.values(), ids=KINDS)
def test_images_of_every_kind_of_column_come_with_their_labels(tmp_path, image):
    views = pa.types.is_struct(image.type) and "view" in str(image.type)  # which pyarrow writes in one group only
    table(tmp_path / "train.parquet", {"photo": image, "label": LABELS}, row_group_size=None if views else 7)
    source = found(tmp_path)
    assert labels_of(source) == TRUTH
    has_paths = pa.types.is_struct(storage(image.type)) and storage(image.type).get_field_index("path") >= 0
    assert list(source.train.names) == [
        f"{number}.png" if has_paths else f"train.parquet row {row}" for row, number in enumerate(NUMBERS)
    ]
    assert [*map(source.train.names.__getitem__, range(20))] == list(source.train.names)


def test_images_of_an_extension_type_are_read(tmp_path, extension):
    table(tmp_path / "train.parquet", {"photo": extension, "label": LABELS}, row_group_size=7)
    assert labels_of(found(tmp_path)) == TRUTH


@pytest.mark.parametrize("folder", ["", "data/train"])
@pytest.mark.parametrize("way", ["beside the file", "below the root", "absolute", "a URL", "with backslashes"])
@pytest.mark.parametrize("kind", ["texts", "a dictionary", "structures without bytes", "structures of paths", "lists"])
def test_images_may_be_paths_of_files(tmp_path, folder, way, kind):
    below = tmp_path / folder if way in ("beside the file", "with backslashes") else tmp_path
    for number in NUMBERS:
        written(below / "pictures" / f"{number} é.png", number)
    paths = [f"pictures/{number} é.png" for number in NUMBERS]
    if way == "absolute":
        paths = [str(below / path) for path in paths]
    elif way == "a URL":
        paths = [(below / path).as_uri() for path in paths]
    elif way == "with backslashes":
        paths = [path.replace("/", "\\") for path in paths]
    column = {
        "texts": pa.array(paths),
        "a dictionary": pa.array(paths).dictionary_encode(),
        "structures without bytes": pa.array([{"bytes": None, "path": path} for path in paths], cells([]).type),
        "structures of paths": pa.array([{"path": path} for path in paths]),
        "lists": pa.array([[path] for path in paths]),
    }[kind]
    table(tmp_path / folder / "train.parquet", {"image": column, "label": LABELS})
    source = found(tmp_path)
    assert labels_of(source) == TRUTH
    assert list(source.train.names) == paths
    assert not any("passed over" in remark for remark in source.remarks)


def test_of_two_files_of_a_path_the_one_beside_the_table_is_meant(tmp_path):
    written(tmp_path / "0.png", 1)
    written(tmp_path / "data" / "0.png", 2)
    table(tmp_path / "data" / "train.parquet", {"image": ["0.png"], "label": ["a"]})
    assert labels_of(found(tmp_path)) == {2: "a"}


def test_a_missing_file_is_named_and_the_others_are_read(tmp_path):
    written(tmp_path / "0.png", 0)
    table(tmp_path / "train.parquet", {"image": ["0.png", "1.png"], "label": ["a", "b"]})
    split = found(tmp_path).train
    (name, first), (other, missing) = split.read(np.arange(2))
    assert (name, number_of(first)) == ("train.parquet row 0 (0.png)", 0)
    assert other == "train.parquet row 1 (1.png)"
    with pytest.raises(FileNotFoundError, match=r"there is no file 1\.png"):
        missing()


REFUSED = {
    "addresses": ({"image": ["https://example.org/1", "x"]}, "are addresses .*example.org/1.* not fetched; download"),
    "addresses of a bucket": ({"photo": ["s3://bucket/1.jpg", "x"]}, "addresses .*s3://bucket/1.jpg.* not fetched"),
    "addresses in structures": (
        {"image": pa.array([{"bytes": None, "path": "gs://b/1.jpg"}], cells([]).type)},
        "addresses .*gs://b/1.jpg",
    ),
    "paths that are not there": ({"image": ["nowhere/1.jpg"]}, "paths such as nowhere/1.jpg, and there is no such"),
    "lists of two": ({"image": [[BYTES[0], BYTES[1]]]}, "'image' .* has lists, of 2 things in one row; one in each"),
    "pixels": ({"image": [[1, 2, 3]], "label": [1]}, r"no image column; images are .*bytes.*image \(list<"),
    "names": ({"name": ["ant"], "label": [1]}, "no image column; images are a column of struct"),
    "bytes that are none": ({"hash": [b"0123456789"], "label": [1]}, r"no image column; .*hash \(binary\)"),
    "two": ({"left": BYTES[:1], "right": BYTES[1:2]}, r"several image columns \(left, right\); call the right one"),
}


@pytest.mark.parametrize(("columns", "message"), REFUSED.values(), ids=REFUSED)
def test_images_that_cannot_be_read_are_told_on_one_line(tmp_path, columns, message):
    table(tmp_path / "train.parquet", columns)
    with pytest.raises(UserError, match=message):
        numbers_in(found(tmp_path).train)


def test_a_column_of_one_name_twice_is_refused(tmp_path):
    twice = pa.Table.from_arrays([cells([1]), pa.array([1]), pa.array([2])], ["image", "label", "label"])
    pa.parquet.write_table(twice, tmp_path / "train.parquet")
    with pytest.raises(UserError, match="several columns called 'label'"):
        found(tmp_path)


PLACES = [number % 2 for number in NUMBERS]
OF_LABELS = {
    "views": (pa.array(LABELS, pa.string_view()), "ab"),
    "large texts": (LABELS.cast(pa.large_string()), "ab"),
    "a dictionary": (LABELS.dictionary_encode(), "ab"),
    "a dictionary of numbers": (pa.array(PLACES).dictionary_encode(), "01"),
    "bytes": (LABELS.cast(pa.binary()), "ab"),
    "lists of one": (pa.array([[each] for each in PLACES]), "01"),
    "lists of one text": (pa.array([[each] for each in LABELS.to_pylist()]), "ab"),
    "floats": (pa.array(map(float, PLACES)), "01"),
    "halves": (pa.array(np.array(PLACES, np.float16)), "01"),
    "decimals": (pa.array([decimal.Decimal(f"{each}.00") for each in PLACES]), "01"),
    "booleans": (pa.array(map(bool, PLACES)), ("false", "true")),
    "unsigned": (pa.array(PLACES, pa.uint64()), "01"),
}


@pytest.mark.parametrize(("labels", "classes"), OF_LABELS.values(), ids=OF_LABELS)
def test_labels_of_every_type_are_read(tmp_path, labels, classes):
    table(tmp_path / "train.parquet", {"image": cells(NUMBERS), "label": labels}, row_group_size=7)
    assert labels_of(found(tmp_path)) == {number: classes[number % 2] for number in NUMBERS}


NO_LABELS = {
    "fractions in decimals": ([decimal.Decimal("0.5")], "holds fractions"),
    "huge numbers": (pa.array([2**63 + 1], pa.uint64()), "holds numbers of 9,223,372,036,854,775,808 and more"),
    "dates": ([datetime.date(2020, 1, 1)], "'label' .* is of type date32.*; labels are integers or strings"),
    "structures": ([{"x": 1}], "'label' .* is of type struct"),
    "bytes that are no text": ([b"\xff\xfe"], "'label' .* holds bytes that are no text"),
    "several": ([[1, 2]], "'label' .* has lists, of 2 things in one row"),
}


@pytest.mark.parametrize(("labels", "message"), NO_LABELS.values(), ids=NO_LABELS)
def test_labels_of_other_types_are_told_on_one_line(tmp_path, labels, message):
    table(tmp_path / "train.parquet", {"image": cells([1]), "label": labels})
    with pytest.raises(UserError, match=message):
        found(tmp_path)


@given(
    st.lists(st.tuples(st.sampled_from([*"abc", "", None]), st.integers(0, 9)), min_size=1, max_size=40),
    st.integers(1, 9),
    st.data(),
)
def test_any_rows_come_with_the_image_and_label_that_stand_in_them(tmp_path_factory, rows, row_group_size, data):
    folder = tmp_path_factory.mktemp("rows")
    numbers = list(range(500, 500 + len(rows)))
    labels = pa.array([label for label, _ in rows], pa.string())
    table(folder / "train.parquet", {"image": cells(numbers), "label": labels}, row_group_size=row_group_size)
    source = found(folder)
    assert labels_of(source) == dict(zip(numbers, [label or None for label, _ in rows], strict=True))
    some = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1))))
    read = [number_of(encoded) for _, encoded in source.train.read(np.array(some, dtype=np.int64))]
    assert read == [numbers[place] for place in some]
