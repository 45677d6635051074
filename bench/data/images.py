"""Images by name, by path or through a door: `load` chooses the source."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from bench import doors
from bench.data import door, folders, known, named, packed, parquet, shapes
from bench.data.assembly import name_of, of_encoded, of_pixels
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
    """The data set with this name, at this path or behind this door; images of a path are decoded into the data cache.

    A name is one of `BY_NAME`: torchvision downloads it once into `named.cache_folder()` and verifies it, or it is
    `shapes`, the embedded set. At a path may be a folder of images (`bench.data.folders` says which folders are classes
    and which are splits), an archive of one, WebDataset shards, or Parquet: images as structures of bytes and path, as
    bytes, base64 or paths of local files, and a column of labels, or none. A door, `package.module:attribute` or
    `path/to/file.py:attribute`, leads to a function without arguments (`bench.data.door`). `asked` is what the user
    says of the files.

    The test images are `test`, else `validation`, else a fixed stratified 20 % of the labelled images, or of all where
    there are no labels, whole by groups; a test split without labels is left out where training has some. Labels of
    fewer than two classes count as none. What is transparent shows white, images of more than 8 bits are shown by the
    range of all. What was passed over and what gives reason to doubt a result is in `remarks`.

    `image_size` resizes to that side in pixels, antialiased: by `fit` the central square (`crop`), all of an image on
    black (`pad`) or stretched (`squash`). An image that cannot be read is left out, counted and named in `skipped` and
    in a line on stderr; with `strict` it is an error. `limit` keeps a fixed stratified subset of that many training
    images, and the same share of the test images. `drop_duplicates` leaves out training images that stand elsewhere.

    Raises UserError where there is no such data set, where it cannot be downloaded, read or kept, where its images
    differ in size or are not square and no `image_size` is given, and where what a door leads to fails or returns
    something else.
    """
    if image_size is not None and image_size < SMALLEST:
        raise UserError(f"an image size of {image_size} px is too small; {SMALLEST} px is the least")
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} images leaves none; give the number of training images to keep")
    name, source = find(name_or_path, asked)
    if isinstance(source, EncodedSource):
        return of_encoded(expanded(name_or_path), source, image_size, fit, strict, limit, asked, drop_duplicates)
    taken = f"{name} is the name of a data set; the folder that is called so here is ./{name}"
    remarks = [taken] if name in BY_NAME and Path(name).exists() else []
    return of_pixels(name, source, image_size, limit, remarks, drop_duplicates)


def find(name_or_path: str | Path, asked: Asked = AS_IT_IS) -> tuple[str, EncodedSource | PixelSource]:
    """What the images with this name, at this path or behind this door are called, and their source. Raises UserError
    where there are none."""
    known.check(name_or_path)
    name = known.name_of(name_or_path) or str(name_or_path)
    if name in BY_NAME:
        return name, _as_asked(name, BY_NAME[name](), asked)
    path = expanded(name_or_path)
    if doors.is_door(name) and not path.exists():
        return door.name_of(name), _as_asked(name, door.open(str(path)), asked)
    try:
        return name_of(path), _find(path, asked)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({one_line(error)})") from None


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
