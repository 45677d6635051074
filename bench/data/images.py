"""Images by name, by path or through a door: `load` chooses the source."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from bench import doors
from bench.data import door, folders, known, named, packed, parquet, shapes
from bench.data.assembly import of_encoded, of_pixels
from bench.data.dataset import SMALLEST, Dataset
from bench.data.labelled import files_of_labels, labelled
from bench.data.source import AS_IT_IS, Asked, EncodedSource, PixelSource
from bench.data.tree import Tree, snapshot
from bench.errors import UserError, one_line
from bench.files import expanded

BY_NAME: dict[str, Callable[[], PixelSource]] = {
    "shapes": shapes.source,
    **{name: functools.partial(named.download, name) for name in named.NAMED},
}
"""The sources of `known.NAMES`."""
BY_PATH: tuple[Callable[[Tree, Asked], EncodedSource | None], ...] = (parquet.find, packed.find, folders.find)
"""The sources of the files at a path. The first that finds images gives them; the last says what would be right."""


def load(
    name_or_path: str | Path,
    *,
    image_size: int | None = None,
    fit: str = "crop",
    strict: bool = False,
    limit: int | None = None,
    asked: Asked = AS_IT_IS,
    drop_duplicates: bool = False,
) -> Dataset:
    """The data set with this name, at this path or behind this door, decoded into memory.

    A name is one of `BY_NAME`, in whatever case: torchvision downloads it once into `named.cache_folder()` and
    verifies it, or it is `shapes`, the embedded set. A path is a folder of Parquet files in the Hugging Face layout (or
    one such file): an image column of struct<bytes, path>, a label column of integers or strings, `train`, `test` or
    `validation` in the file names. Or it is a folder with a folder of images for each class, perhaps below `train` and
    `test` (or `val`); a folder `unlabelled` beside them or beside `train` holds images without a label, and images
    beside class folders have none. Fewer than two class folders are none, and then no image has a label (`folders`
    says which folders are classes). Or it is a .zip or .tar of such a folder, a folder of them, or shards of
    WebDataset, which are read as they are. The test images are `test`, else `validation`, else a fixed stratified 20 %
    of the labelled images; a test or validation split without labels is left out where training has some. Grey images
    get three equal channels, and what is transparent shows white.

    A door, `package.module:attribute` or `path/to/file.py:attribute`, leads to a function without arguments that
    returns (training images, training labels, test images, test labels, class names): images as uint8 arrays or
    tensors [N, 3, S, S], labels as integers [N], places in the class names, -1 for training images without a label.
    The images are copied. The data set is called as its door without the folder (`doors.short`), and is told from
    others by its fingerprint, as any data set is.

    Labels of fewer than two classes count as none: `classes` is empty then, all labels are -1, and 20 % of all images
    are held out, at most 10,000. With `asked.group` or `asked.group_by` no group stands in two splits that are made
    here, and `Split.groups` says which images belong together. `drop_duplicates` leaves training images out that are
    test images too, exactly or nearly, or another training image once more (`bench.data.duplicates`); else they are
    told alone.

    What was passed over and what gives reason to doubt a result is in `remarks`.

    `image_size` resizes: the central square, antialiased, to that side in pixels. An image that cannot be read is
    left out, counted and named in `skipped` and in a line on stderr; with `strict` it is an error. `limit` keeps a
    fixed stratified subset of that many training images, and the same share of the test images.

    Raises UserError where there is no such data set, where it cannot be downloaded or has no images, where its images
    differ in size or are not square and no `image_size` is given, where no group can be held out or all training images
    are duplicates, and where what a door leads to fails or returns something else.
    """
    if image_size is not None and image_size < SMALLEST:
        raise UserError(f"an image size of {image_size} px is too small; {SMALLEST} px is the least")
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} images leaves none; give the number of training images to keep")
    known.check(name_or_path)
    name = known.name_of(name_or_path) or str(name_or_path)
    if name in BY_NAME:
        taken = f"{name} is the name of a data set; the folder that is called so here is ./{name}"
        source = _as_asked(name, BY_NAME[name](), asked)
        return of_pixels(name, source, image_size, limit, [taken] if Path(name).exists() else [], drop_duplicates)
    path = expanded(name_or_path)
    if doors.is_door(name) and not path.exists():
        source = _as_asked(name, door.open(str(path)), asked)
        return of_pixels(door.name_of(name), source, image_size, limit, drop_duplicates=drop_duplicates)
    try:
        found = _find(path, asked)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({one_line(error)})") from None
    return of_encoded(path, found, image_size, fit, strict, limit, asked, drop_duplicates)


def _as_asked(name: str, source: PixelSource, asked: Asked) -> PixelSource:
    """The source without its labels where that is asked. Raises UserError where anything is asked of files."""
    for option in ("labels", "group", "group_by"):
        if getattr(asked, option) is not None:
            raise UserError(f"--{option.replace('_', '-')} is of images in files, and {name} has none; leave it out")
    if not asked.unlabelled:
        return source
    train, test = (replace(split, labels=torch.full_like(split.labels, -1)) for split in (source.train, source.test))
    return PixelSource(source.title, train, test, classes=())


def _find(path: Path, asked: Asked = AS_IT_IS) -> EncodedSource:
    """The images in the Parquet files below `path` (or in that file), else those in its folders, else in archives.

    Raises UserError where it is not clear which are meant, and OSError where `path` cannot be read.
    """
    root, remarks = snapshot(path)
    tree = Tree(root)
    files = files_of_labels(tree, asked)
    asked = replace(asked, labels=files[0][1].path if files else None)
    found = next(filter(None, (find(tree, asked) for find in BY_PATH)))
    found = labelled(path, tree, found, files, asked)
    remarks += [f"the folder {name} cannot be read and is left out ({why})" for name, why in tree.unreadable]
    return replace(found, remarks=(*remarks, *found.remarks))
