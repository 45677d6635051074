"""What is no images gets a line that says what it seems to be and what would be right."""

import pytest

from bench.errors import UserError
from tests.bench.data.truth import found, png, put, zipped


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.mat", r"a file .mat, neither a folder nor an archive of images; .*function that returns its arrays"),
        ("x.npz", "function that returns its arrays as FILE.py:NAME"),
        ("x.7z", "unpack it"),
        ("labels.csv", "give the folder of the images, and their labels as --labels"),
        ("x.png", "give the folder that holds all images"),
        ("x", r"a file without a suffix.*give a folder of images.*\.zip or \.tar"),
        ("x.zip", "cannot be read as an archive"),
        ("x.tar", "cannot be read as an archive"),
        ("cifar-10-batches-py/data_batch_1", "SSL_BENCH_CACHE={root} they are read by --dataset cifar10"),
        ("cifar-100-python/train", "SSL_BENCH_CACHE={root} they are read by --dataset cifar100"),
        ("FashionMNIST/raw/train-images-idx3-ubyte", "SSL_BENCH_CACHE={root} they are read by --dataset fashionmnist"),
        ("set/train_32x32.mat", "SSL_BENCH_CACHE={root}/set they are read by --dataset svhn"),
        ("set/a.npz", r"holds no images \(1 other file passed over: 1 .npz\); .*function"),
        ("set/readme.txt", r"holds no images \(1 other file passed over: 1 .txt\); give a folder of images"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_would_be_right(tmp_path, name, message):
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"PK")
    given = file if file.parent == tmp_path else tmp_path / name.split("/")[0]
    with pytest.raises(UserError, match=message.replace("{root}", str(tmp_path))) as error:
        found(given)
    assert "\n" not in str(error.value)


def test_files_without_a_suffix_are_images_where_their_content_is(tmp_path):
    put(tmp_path / "a", "cat", suffix="")
    put(tmp_path / "b", "dog", suffix="")
    (tmp_path / "b" / "notes").write_text("P1 no image")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "x.png").write_bytes(png("owl"))
    (tmp_path / "c" / "y").write_bytes(png("owl", number=1))  # beside images that have one it is only told
    source = found(tmp_path)
    assert source.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2]
    assert "2 other files passed over: 2 without a suffix" in source.remarks


def test_what_an_archive_holds_that_is_not_read_is_told(tmp_path):
    inner = zipped(tmp_path / "inner.zip", [("a/x.png", png("cat"))])
    for name, message in (("inner.zip", "archives within an archive"), ("train.parquet", "Parquet files are not read")):
        outer = zipped(tmp_path / f"outer-{name}", [(name, inner.read_bytes())])
        if name.endswith("parquet"):
            outer = outer.rename(tmp_path / "outer.zip")
        with pytest.raises(UserError, match=message):
            found(outer)
