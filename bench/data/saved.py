"""The decoded images of a run: files that all its processes map.

`images.npy` holds the pixels: a link to the file of the data cache where they were decoded to, so that nothing is
copied and the run keeps them if the cache is emptied; else a file of their own. `dataset.npz` holds the rest.
"""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from algorithms.images.statistics import Statistics
from algorithms.images.store import pack
from bench.data.dataset import Dataset, Split
from bench.data.decoded import mapped
from bench.errors import UserError, one_line
from bench.files import make_folder, sync_folder, write_atomically

IMAGES, REST = "images.npy", "dataset.npz"
DESCRIPTION = ("name", "note", "skipped", "remarks")
"""The fields of a data set that describe it in words."""


def save(dataset: Dataset, folder: str | Path) -> None:
    """Write `dataset` into `folder`, for `open_saved`; nothing is written where the same one is there already. Raises
    UserError where it cannot be written."""
    folder = Path(folder)
    try:
        there = open_saved(folder)
        if all(getattr(there, field) == getattr(dataset, field) for field in ("fingerprint", *DESCRIPTION)):
            return
    except UserError:
        pass
    both = {"train": dataset.train, "test": dataset.test}
    arrays: dict[str, Any] = {}
    try:
        make_folder(folder)
        (folder / REST).unlink(missing_ok=True)  # it speaks of other images
        if dataset.train.file is not None and dataset.train.file == dataset.test.file:
            _link(dataset.train.file.resolve(), folder / IMAGES)
            arrays |= {f"{name}_rows": split.rows.numpy() for name, split in both.items()}
        else:
            write_atomically(folder / IMAGES, lambda file: _write(list(both.values()), file))
            starts = {"train": 0, "test": len(dataset.train)}
            arrays |= {f"{name}_rows": starts[name] + np.arange(len(split)) for name, split in both.items()}
        arrays |= {f"{name}_labels": split.labels.numpy() for name, split in both.items()}
        arrays |= {f"{name}_groups": split.groups.numpy() for name, split in both.items() if split.groups is not None}
        described = {field: getattr(dataset, field) for field in (*DESCRIPTION, "fingerprint", "classes", "statistics")}
        arrays["description"] = np.frombuffer(json.dumps(described).encode(), dtype=np.uint8)
        write_atomically(folder / REST, lambda file: np.savez(file, **arrays))
    except OSError as error:
        raise UserError(f"the decoded images cannot be written to {folder} ({one_line(error)})") from None


def _write(splits: list[Split], file: BinaryIO) -> None:
    """A NumPy array of all images, as `pack` wants them, a few at a time."""
    size, channels = splits[0].size, splits[0].channels
    shape = (sum(map(len, splits)), size, channels, size)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    for split in splits:
        for part in split.parts():
            file.write(pack(part).numpy().data)


def _link(file: Path, place: Path) -> None:
    """A name of the file at `place`, in whose stead it comes: on another file system a symbolic link."""
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(file, temporary)
    except OSError:  # of another file system, or one that knows no such links
        os.symlink(file, temporary)
    os.replace(temporary, place)
    sync_folder(place.parent)


def open_saved(folder: str | Path) -> Dataset:
    """The data set that `save` wrote into `folder`, memory-mapped: however many processes of a machine open it, it is
    in memory once. Raises UserError where there is none."""
    folder = Path(folder)
    try:
        packed = mapped(folder / IMAGES)
        with np.load(folder / REST, allow_pickle=False) as rest:
            arrays = {name: rest[name] for name in rest.files}
        content = json.loads(arrays["description"].tobytes())

        def split(name: str) -> Split:
            rows, labels = (torch.from_numpy(arrays[f"{name}_{what}"]) for what in ("rows", "labels"))
            groups = arrays.get(f"{name}_groups")
            if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(packed):
                raise ValueError("its rows are not in the file")
            belonging = None if groups is None else torch.from_numpy(groups)
            return Split(packed, rows, labels, belonging, folder / IMAGES)

        return Dataset(
            content["name"],
            split("train"),
            split("test"),
            tuple(content["classes"]),
            content["fingerprint"],
            Statistics(*map(tuple, content["statistics"])),
            content["note"],
            tuple(content["skipped"]),
            tuple(content["remarks"]),
        )
    except Exception as error:  # of the disk, of the file's format or of what is in it
        raise UserError(f"{folder} holds no saved data set ({one_line(error)})") from None
