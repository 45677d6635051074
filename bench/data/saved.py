"""The decoded images of a run: one file that all its processes map."""

import json
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from algorithms.images.store import pack
from bench.data.dataset import Dataset, Split
from bench.errors import UserError, one_line
from bench.files import write_atomically

SAVED = "images.npy"
DESCRIPTION = ("name", "note", "skipped", "remarks")
"""The fields of a data set that describe it in words."""


def save(dataset: Dataset, folder: str | Path) -> None:
    """Write `dataset` into `folder`, for `open_saved`; nothing is written where the same one is there already.

    The file is a NumPy array of all images (training and test split, in this order), followed by an array of their
    labels and by the rest as JSON. The images lie as `pack` wants them: so what a run trains on is a part of the mapped
    file, not a copy in every worker. They are written a few at a time, without a copy of all. Raises UserError where it
    cannot be written.
    """
    folder = Path(folder)
    try:
        there = open_saved(folder)
        if all(getattr(there, field) == getattr(dataset, field) for field in ("fingerprint", *DESCRIPTION)):
            return
    except UserError:
        pass
    both = (dataset.train, dataset.test)
    size, channels = dataset.train.size, dataset.train.channels
    description = {
        "training": len(dataset.train.labels),
        "fingerprint": dataset.fingerprint,
        "classes": dataset.classes,
        "groups": [None if split.groups is None else split.groups.tolist() for split in both],
    } | {field: getattr(dataset, field) for field in DESCRIPTION}

    def fill(file: BinaryIO) -> None:
        shape = (sum(map(len, both)), size, channels, size)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for split in both:
            for part in split.parts():
                file.write(pack(part).numpy().data)
        np.save(file, torch.cat([split.labels for split in both]).numpy())
        file.write(json.dumps(description).encode())

    try:
        write_atomically(folder / SAVED, fill)
    except OSError as error:
        raise UserError(f"the decoded images cannot be written to {folder} ({one_line(error)})") from None


def open_saved(folder: str | Path) -> Dataset:
    """The data set that `save` wrote into `folder`, memory-mapped: however many processes of a machine open it, it is
    in memory once. Raises UserError where there is none."""
    path = Path(folder) / SAVED
    try:
        # Copy-on-write, as PyTorch knows no tensor that is read-only; nothing is ever written.
        mapped = np.lib.format.open_memmap(path, mode="c")
        with path.open("rb") as file:
            file.seek(mapped.offset + mapped.nbytes)
            labels = torch.from_numpy(np.load(file, allow_pickle=False))
            content = json.load(file)
        packed, rows = torch.from_numpy(mapped), torch.arange(len(labels))
        sizes = [content["training"], len(labels) - content["training"]]
        of_groups = [None if each is None else torch.tensor(each) for each in content.get("groups", (None, None))]
        split = zip(torch.split(rows, sizes), torch.split(labels, sizes), of_groups, strict=True)
        train, test = (Split(packed, places, of, groups) for places, of, groups in split)
        return Dataset(
            content["name"],
            train,
            test,
            tuple(content["classes"]),
            content["fingerprint"],
            content["note"],
            tuple(content["skipped"]),
            tuple(content["remarks"]),
        )
    except Exception as error:  # of the disk, of the file's format or of what is in it
        raise UserError(f"{path} is no saved data set ({one_line(error)})") from None
