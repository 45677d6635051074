"""Files of labels: which columns they have, in which encodings and with which delimiters, and what is refused."""

import json
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data import labels_file
from bench.errors import UserError
from tests.bench.data.numbered import table


def pairs(path) -> list[tuple[str, str]]:
    """What each row says: image and label."""
    file = labels_file.read(path)
    return list(zip(file.columns[file.key], file.columns[file.label], strict=True))


def text(tmp_path, content: str, name: str = "labels.csv", encoding: str = "utf-8"):
    path = tmp_path / name
    path.write_bytes(content.encode(encoding))
    return path


TABLES = {
    "path and label": "path,label\n1.jpg,007\n2.jpg,NA\n3.jpg,\n",
    "semicolons": "path;label\n1.jpg;007\n2.jpg;NA\n3.jpg;\n",
    "tabs": "path\tlabel\n1.jpg\t007\n2.jpg\tNA\n3.jpg\t\n",
    "quotes": '"path","label"\n"1.jpg","007"\n"2.jpg","NA"\n"3.jpg",""\n',
    "spaces": "path, label\n1.jpg, 007\n2.jpg , NA\n 3.jpg,\n",
    "another order": "label,file_name\n007,1.jpg\nNA,2.jpg\n,3.jpg\n",
    "names in capitals": "Image Path,Class\n1.jpg,007\n2.jpg,NA\n3.jpg,\n",
    "more columns": "width,category,filename,id\n8,007,1.jpg,5\n8,NA,2.jpg,6\n8,,3.jpg,7\n",
    "the index of pandas": ",path,label\n0,1.jpg,007\n1,2.jpg,NA\n2,3.jpg,\n",
    "Unnamed": "Unnamed: 0,path,kind\n0,1.jpg,007\n1,2.jpg,NA\n2,3.jpg,\n",
    "no header": "1.jpg,007\n2.jpg,NA\n3.jpg,\n",
    "no header, labels first": "007,1.jpg\nNA,2.jpg\n,3.jpg\n",
    "a header of which one is known": "path,kind\n1.jpg,007\n2.jpg,NA\n3.jpg,\n",
    "a header of which the other is known": "kind,path\n007,1.jpg\nNA,2.jpg\n,3.jpg\n",
    "lines of Windows, some empty": "path,label\r\n\r\n1.jpg,007\r\n2.jpg,NA\r\n3.jpg,\r\n\r\n",
    "lines that end in delimiters": "path,label\n1.jpg,007,\n2.jpg,NA,,\n3.jpg,\n",
}


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_rows_are_read_as_text_whatever_the_form_of_the_table(tmp_path, content):
    assert pairs(text(tmp_path, content)) == [("1.jpg", "007"), ("2.jpg", "NA"), ("3.jpg", "")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_that_spreadsheets_write_are_read(tmp_path, encoding):
    path = text(tmp_path, "path,label\nköln.jpg,Bär\n", encoding=encoding)
    assert pairs(path) == [("köln.jpg", "Bär")]
    assert bool(labels_file.read(path).remarks) == (encoding == "latin-1")


CELL = st.text(st.characters(exclude_categories=["C", "Zl", "Zp", "Zs"], include_characters=" "), max_size=8)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=9), st.sampled_from(",;\t|"))
def test_what_a_writer_of_csv_writes_comes_back(tmp_path_factory, rows, delimiter):
    lines = [["path", "label"], *rows]
    quoted = (['"' + cell.replace('"', '""') + '"' for cell in line] for line in lines)
    content = "".join(delimiter.join(line) + "\r\n" for line in quoted)
    path = text(tmp_path_factory.mktemp("csv"), content)
    expected = [(key.strip(), unicodedata.normalize("NFC", label.strip())) for key, label in rows]
    expected = [row for row in expected if any(row)]
    if expected:
        assert pairs(path) == expected
    else:
        with pytest.raises(UserError, match="has no rows"):
            labels_file.read(path)


@pytest.mark.parametrize(
    ("labels", "read"),
    [
        (["a", None], ["a", ""]),
        ([3, None], ["3", ""]),
        ([3.0, None], ["3", ""]),
        ([True, False], ["true", "false"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array(["a", "b"], pa.string_view()), ["a", "b"]),
    ],
)
def test_parquet_is_read_as_text(tmp_path, labels, read):
    columns = {"path": ["1.jpg", "2.jpg"], "label": labels, "boxes": [[1.5], [2.5]], "score": [0.5, 0.25]}
    assert pairs(table(tmp_path / "labels.parquet", columns)) == [("1.jpg", read[0]), ("2.jpg", read[1])]


def test_class_names_in_the_metadata_of_parquet_are_the_labels(tmp_path):
    features = {"label": {"names": ["ant", "bee"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    of_numbers = pa.table({"path": ["1.jpg", "2.jpg", "3.jpg"], "label": [1, 0, None]}).replace_schema_metadata(
        metadata
    )
    pa.parquet.write_table(of_numbers, tmp_path / "labels.parquet")
    assert pairs(tmp_path / "labels.parquet") == [("1.jpg", "bee"), ("2.jpg", "ant"), ("3.jpg", "")]


def test_json_lines_are_read(tmp_path):
    lines = [{"file_name": "1.jpg", "label": 7}, {"label": None, "file_name": "2.jpg"}, {"file_name": "3.jpg"}]
    content = "\n".join(map(json.dumps, lines))
    assert pairs(text(tmp_path, content, "m.jsonl")) == [("1.jpg", "7"), ("2.jpg", ""), ("3.jpg", "")]


def test_lists_in_json_are_of_one_label(tmp_path):
    one = {"file_name": "1.jpg", "label": ["a"], "boxes": [[1, 2]]}
    assert pairs(text(tmp_path, json.dumps(one), "m.jsonl")) == [("1.jpg", "a")]
    with pytest.raises(UserError, match="one of labels, such as 'label'; its columns are file_name"):
        labels_file.read(text(tmp_path, json.dumps({"file_name": "1.jpg", "label": [1, 2]}), "n.jsonl"))


def test_labels_can_stand_in_a_table(tmp_path):
    assert pairs(text(tmp_path, 'path,label\n1.jpg,"big\ncat\x07"\n')) == [("1.jpg", "big cat")]


REFUSED = {
    "nothing": ("", "is empty; a CSV or Parquet file with a column of paths"),
    "a header alone": ("path,label\n", "has no rows"),
    "several columns without names": ("1.jpg,a,b\n2.jpg,a,b\n", r"first line .* \(1.jpg, a, b\) does not say which"),
    "no label": (
        "path,width,height\n1.jpg,8,8\n",
        "one of labels, such as 'label'; its columns are path, width, height",
    ),
    "no image": ("label,width,height\n1,8,8\n", "one of images, such as 'path'; its columns are label, width, height"),
    "two labels of one name": ("path,label,label\n1.jpg,a,b\n", "several columns called 'label'"),
    "a short line": ("path,width,label\n1.jpg,8,a\n2.jpg,8\n", "line 3 of .* has 2 columns, and the first 3"),
    "a delimiter in a label": ("path,label\n1.jpg,a,b\n", "line 2 .* 3 columns, and the first 2; .* in quotes"),
    "an open quote": ('path,label\n1.jpg,"a\n', "cannot be read as CSV"),
    "one column": ("path\n1.jpg\n", "has no column with the name of one of labels"),
    "bytes": ("path\0label", "is no text"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_of_labels_is_told_on_one_line(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as error:
        labels_file.read(text(tmp_path, content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.parquet", "path,label\n", "cannot be read as Parquet"),
        ("l.jsonl", '{"path": 1}\nx', "line 2 of .* is no JSON object"),
        ("l.jsonl", "[1]", "line 1 of .* is no JSON object"),
    ],
)
def test_files_that_are_not_what_their_suffix_says_are_told(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message):
        labels_file.read(text(tmp_path, content, name))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        labels_file.read(tmp_path / "none.csv")
    with pytest.raises(UserError, match="is a folder"):
        labels_file.read(tmp_path)
