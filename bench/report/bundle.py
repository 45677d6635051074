"""A run in one file, for others to check: the ledger, its tables, what it was made with, and the hash of each file.

It is a zip without folders, links or programs, and the same run gives the same bytes. Whoever reads one trusts nothing
in it: names that do not belong there, a name twice, what is larger than the limits or packed too tightly, and whatever
the manifest does not vouch for are refused before it is used.
"""

import hashlib
import io
import json
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.errors import UserError, one_line
from bench.files import write_atomically
from bench.report import results
from bench.report.results import Results
from bench.search.events import plain
from bench.search.fold import Fold, read

SUFFIX = ".bundle.zip"
FORMAT = 1
LEDGER, ENVIRONMENT, MANIFEST = "ledger.jsonl", "environment.json", "manifest.json"
TABLES = ("trials.parquet", "epochs.parquet", "table.md", "table.csv")
CONTENT = (ENVIRONMENT, LEDGER, *TABLES)
"""What the manifest vouches for."""
LARGEST = 512 * 2**20
"""Bytes of all files of a bundle together, unpacked."""
TIGHTEST = 200
"""A file that is so many times smaller when packed is no ledger and no table; smaller than `SMALL` it is let pass."""
SMALL = 2**20
MOMENT = (1980, 1, 1, 0, 0, 0)
"""The time of every file: the earliest that a zip has."""


class Source(NamedTuple):
    """A run as it lies in a folder, or in a bundle that was unpacked."""

    folder: Path
    name: str
    """What the run calls itself."""
    title: str
    """What the user called it."""
    bundled: bool


def environment(fold: Fold, name: str) -> dict[str, Any]:
    """What a run was made with and for, to be read by people; all of it stands in the ledger. `sessions` are in their
    order, budgets and charges in device-seconds."""
    sessions = []
    for session in fold.sessions:
        facts = session.get("facts") or {}
        told = {key: facts.get(key) for key in ("device", "versions", "commit", "command")}
        sessions.append({key: session.get(key) for key in ("budget", "slots", "rate", "share")} | told)
    facts = (fold.sessions[-1].get("facts") or {}) if fold.sessions else {}
    images = {key: facts.get("images", {}).get(key) for key in ("train", "labelled", "test")}
    about = {"note": facts.get("dataset_note"), "fingerprint": fold.settings.get("dataset_fingerprint"), **images}
    made: dict[str, Any] = plain(
        {
            "format": FORMAT,
            "run": name,
            "ended": fold.closed,
            "images": about,
            "settings": fold.settings,
            "plan": fold.plan,
            "charged": fold.charged,
            "sessions": sessions,
        }
    )
    return made


def write(folder: Path, output: Path, *, unfinished: bool = False) -> Path:
    """Pack the run in `folder` into `output`. Raises UserError where files are missing, or the run has not ended and
    that is not said to be meant, and OSError."""
    fold = read(folder / LEDGER)
    if not fold.settings:
        raise UserError(f"{folder} has no {LEDGER} of a run; give the folder that a run was kept in")
    if fold.closed != "done" and not unfinished:
        why = f"it stopped with '{one_line(fold.closed)}'" if fold.closed else "it has not ended"
        raise UserError(f"{folder} is no whole run, for {why}; end it, or add --unfinished to pack it as it is")
    name = str(plain(folder.resolve().name))
    content = {ENVIRONMENT: _json(environment(fold, name))}
    for each in (LEDGER, *TABLES):
        path = folder / each
        if path.is_symlink() or not path.is_file():
            raise UserError(f"{path} is no file; ssl-bench report {folder} makes the tables again")
        content[each] = path.read_bytes()
    if (size := sum(map(len, content.values()))) > LARGEST:
        raise UserError(f"{folder} has {size / 2**20:.0f} MiB of results, and a bundle has {LARGEST // 2**20} at most")
    write_atomically(output, packed(content))
    return output


def packed(content: Mapping[str, bytes]) -> bytes:
    """The bundle of these files by name, with their manifest. The same files give the same bytes."""
    hashes = {name: hashlib.sha256(content[name]).hexdigest() for name in sorted(content)}
    whole = {**content, MANIFEST: _json({"format": FORMAT, "sha256": hashes})}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(whole):
            entry = zipfile.ZipInfo(name, MOMENT)
            entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, whole[name], compresslevel=9)
    return file.getvalue()


def unpacked(path: Path) -> dict[str, bytes]:
    """The files of a bundle by name, each as its manifest has it. Raises UserError for anything else, and OSError."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST // 2**20} MiB")
        with zipfile.ZipFile(path) as archive:
            _check_entries(archive.infolist())
            content = {entry.filename: _read(archive, entry) for entry in archive.infolist()}
        manifest = json.loads(content.pop(MANIFEST))
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        for name, data in content.items():
            if manifest["sha256"].get(name) != hashlib.sha256(data).hexdigest():
                raise ValueError(f"{name} is not what its manifest has")
        return content
    except (zipfile.BadZipFile, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _refused(path, error) from None
    except (NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise _refused(path, error) from None  # another packing, a password, a file that was cut


def unpack(path: Path, folder: Path) -> None:
    """Write the files of a bundle into the folder, which has none of their names but with the same content. Raises
    UserError, and OSError."""
    content = unpacked(path)
    for name, data in content.items():
        if (place := folder / name).exists() and place.read_bytes() != data:
            raise UserError(f"{folder} holds another run; move it, or give {path} another name")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        write_atomically(folder / name, data)


def _refused(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is no bundle of a run ({one_line(error)}); give one that ssl-bench bundle made")


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    """Raises ValueError unless they are the files of a bundle, each once, of sizes that there can be."""
    names = [entry.filename for entry in entries]
    if sorted(names) != sorted((*CONTENT, MANIFEST)):
        odd = next((name for name in names if name not in (*CONTENT, MANIFEST) or names.count(name) > 1), None)
        missing = next((name for name in (*CONTENT, MANIFEST) if name not in names), None)
        raise ValueError(f"it has {odd[:80]!r}, or that twice" if odd is not None else f"it lacks {missing}")
    if (size := sum(entry.file_size for entry in entries)) > LARGEST:
        raise ValueError(f"it holds {size / 2**20:.0f} MiB, and a bundle has {LARGEST // 2**20} at most")
    for entry in entries:
        if entry.file_size > max(SMALL, TIGHTEST * entry.compress_size):
            raise ValueError(f"{entry.filename} is packed more than {TIGHTEST} times smaller")
        if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"{entry.filename} is no plain file")


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """No more than it says that it has; the zip's own checksum is checked."""
    with archive.open(entry) as file:
        data = file.read(entry.file_size + 1)
    if len(data) != entry.file_size:
        raise ValueError(f"{entry.filename} has another size than it says")
    return data


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """A run folder as it is, or a bundle, whose files lie in a folder for as long. Raises UserError, and OSError."""
    if path.is_dir():
        yield Source(path, str(plain(path.resolve().name)), str(path), bundled=False)
        return
    if not path.is_file():
        raise UserError(f"there is no {path}; give a run's folder, or a file that ssl-bench bundle made")
    content = unpacked(path)
    try:
        name = json.loads(content[ENVIRONMENT])["run"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _refused(path, error) from None
    with tempfile.TemporaryDirectory(prefix="ssl-bench-") as folder:
        for each, data in content.items():  # of the names that there may be, so that none leads elsewhere
            (Path(folder) / each).write_bytes(data)
        yield Source(Path(folder), str(name), str(path), bundled=True)


def load(path: Path) -> Results:
    """The results of a run's folder or of a bundle. Raises UserError."""
    with opened(path) as source:
        return results.load(source.folder)


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
