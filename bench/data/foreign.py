"""What is given and not read: what it seems to be, and what would be right."""

from bench.data.archives import is_archive
from bench.data.formats import SUFFIXES
from bench.data.tree import Tree, passed_over, suffix_of
from bench.data.wording import valid

RIGHT = "give a folder of images (those of each class in a folder of its own), a .zip or .tar of it, or Parquet files"
ARRAYS = "give a function that returns its arrays as FILE.py:NAME"
UNPACK = "unpack it, and give the folder"
BY_SUFFIX = {
    **dict.fromkeys((".mat", ".npz", ".h5", ".hdf5", ".pt", ".pth", ".pkl", ".pickle", ".safetensors"), ARRAYS),
    **dict.fromkeys((".7z", ".rar", ".zst", ".gz", ".bz2", ".xz", ".lz4"), UNPACK),
    **dict.fromkeys((".tfrecord", ".lmdb", ".mdb", ".arrow", ".beton", ".rec"), "write its images to files or Parquet"),
    **dict.fromkeys(
        (".csv", ".tsv", ".json", ".jsonl", ".txt", ".xlsx"),
        "give the folder of the images, and their labels as --labels",
    ),
    **dict.fromkeys(SUFFIXES, "give the folder that holds all images"),
}
"""What would be right, by the suffix of a file."""
OF_TORCHVISION = {
    ("cifar-10-batches-py", "data_batch_1"): ("cifar10", 1),
    ("cifar-100-python", "train"): ("cifar100", 1),
    ("stl10_binary", "train_X.bin"): ("stl10", 1),
    ("", "train_32x32.mat"): ("svhn", 0),
    ("raw", "train-images-idx3-ubyte"): ("fashionmnist", 2),
    ("raw", "train-images-idx3-ubyte.gz"): ("fashionmnist", 2),
}
"""A folder's and a file's name -> of which data set they are as torchvision keeps it, and how far up its cache is."""


def refusal(tree: Tree) -> str:
    """Why there are no images to be found at a path, and what would be right."""
    root = tree.root
    if root.is_file() and not tree.images:
        suffix = suffix_of(root.name)
        kind = f"a file {suffix}" if suffix else "a file without a suffix"
        return f"{root} is {valid(kind)}, neither a folder nor an archive of images; {BY_SUFFIX.get(suffix, RIGHT)}"
    for place, names in tree.others.items():
        folder = root.joinpath(*place)
        for (called, file), (of, up) in OF_TORCHVISION.items():
            if file in names and folder.name.endswith(called):
                cache = [folder, *folder.parents][up]
                return (
                    f"{root} holds files of {of} as torchvision keeps them; with SSL_BENCH_CACHE={cache} they are read "
                    f"by --dataset {of}"
                )
    every = [name for names in tree.others.values() for name in names]
    right = RIGHT
    if any(suffix_of(name) == ".parquet" for name in every):
        right = "Parquet files are not read from an archive: " + UNPACK
    elif any(map(is_archive, every)):
        right = "archives within an archive are not read: " + UNPACK
    elif {BY_SUFFIX.get(suffix_of(name)) for name in every} == {ARRAYS}:
        right = ARRAYS
    others = "".join(f" ({said})" for said in passed_over(tree.others.values()))
    return f"{root} holds no images{others}; {right}"
