import hashlib
import io
import json
import os
import shutil
import stat
import warnings
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import UserError
from bench.report import bundle, results
from tests.bench import simulated_run
from tests.bench.commands.answering import answer_of, check_refusal


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return simulated_run.write(tmp_path_factory.mktemp("bundle") / "a-run", simulated_run.events())


@pytest.fixture(scope="module")
def packed(run, tmp_path_factory):
    return bundle.write(run, tmp_path_factory.mktemp("packed") / "a.bundle.zip")


def test_the_same_run_gives_the_same_bytes_wherever_and_whenever_it_lies(run, packed, tmp_path):
    copy = shutil.copytree(run, tmp_path / "a-run")
    for path in copy.iterdir():
        os.utime(path, (1, 1))
    assert bundle.write(copy, tmp_path / "b.zip").read_bytes() == packed.read_bytes()


def test_a_bundle_holds_the_results_their_environment_and_no_path_of_the_machine(run, packed):
    content = bundle.unpacked(packed)
    assert sorted(content) == sorted(bundle.CONTENT)
    assert content["ledger.jsonl"] == (run / "ledger.jsonl").read_bytes()
    told = json.loads(content["environment.json"])
    assert told["run"] == "a-run"
    assert told["images"]["fingerprint"] == "0123456789abcdef"
    assert told["sessions"][0]["versions"] == {"torch": "2.14.1"}
    assert str(run.parent).encode() not in b"".join(content.values())
    assert bundle.load(packed).trials.equals(results.load(run).trials)


def test_a_run_that_has_not_ended_is_packed_only_when_told(run, tmp_path):
    folder = tmp_path / "on"
    simulated_run.write(folder, simulated_run.events()[:-1])
    with pytest.raises(UserError, match="has not ended; end it, or add --unfinished"):
        bundle.write(folder, tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()
    bundle.unpacked(bundle.write(folder, tmp_path / "x.zip", unfinished=True))


def test_a_link_in_the_folder_is_not_followed(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "table.md").unlink()
    (folder / "table.md").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="is no file"):
        bundle.write(folder, tmp_path / "x.zip")


def made(content, entries=(), **changed):
    """A zip of this content, with a manifest that vouches for it, and further entries."""
    content = {**content, **changed}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in content.items()}
    manifest = json.dumps({"format": 1, "sha256": hashes}).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in [*content.items(), ("manifest.json", manifest), *entries]:
            archive.writestr(name, data)
    return file.getvalue()


def link():
    entry = zipfile.ZipInfo("table.md")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return entry


HOSTILE = {
    "a path out of the folder": (lambda c: made(c, [("../evil", b"x")]), "evil"),
    "an absolute path": (lambda c: made(c, [("/tmp/evil", b"x")]), "evil"),
    "an unknown file": (lambda c: made(c, [("run.pkl", b"x")]), "run.pkl"),
    "a name twice": (lambda c: made(c, [("table.md", b"x")]), "table.md"),
    "a bomb": (lambda c: made(c | {"table.md": bytes(50 * 2**20)}), "packed more than"),
    "a link": (lambda c: made({n: d for n, d in c.items() if n != "table.md"}, [(link(), b"/etc")]), "no plain file"),
    "a file less": (lambda c: made({n: d for n, d in c.items() if n != "table.csv"}), "lacks table.csv"),
    "no zip": (lambda c: b"hello", "not a zip"),
    "nothing": (lambda c: b"", "not a zip"),
    "no mapping as manifest": (lambda c: _with_manifest(c, b"[]").getvalue(), "format"),
    "a manifest of nothing": (
        lambda c: _with_manifest(c, b'{"format": 1, "sha256": {}}').getvalue(),
        "not what its manifest has",
    ),
    "deep brackets": (lambda c: _with_manifest(c, b"[" * 100_000).getvalue(), "no bundle"),
}


def _with_manifest(content, manifest):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in [*content.items(), ("manifest.json", manifest)]:
            archive.writestr(name, data)
    return file


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_bundle_is_refused_in_one_line(kind, packed, tmp_path):
    make, why = HOSTILE[kind]
    path = tmp_path / "hostile.zip"
    path.write_bytes(make(bundle.unpacked(packed)))
    status, _, err = answer_of(["verify", str(path)])
    check_refusal(status, err)
    assert why in err


def test_more_than_a_bundle_may_hold_is_refused_before_it_is_unpacked(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "LARGEST", 100_000)
    path = tmp_path / "large.zip"
    path.write_bytes(made({name: b"x" for name in bundle.CONTENT} | {"table.md": bytes(200_000)}))
    with pytest.raises(UserError, match="MiB"):
        bundle.unpacked(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_bundle_with_any_other_byte_is_refused_or_holds_the_same(packed, tmp_path_factory, data):
    content = bytearray(packed.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    path.write_bytes(bytes(content))
    try:
        found = bundle.unpacked(path)
    except UserError:
        return
    assert found == bundle.unpacked(packed)


def test_the_command_names_its_file_and_refuses_what_is_no_run(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, _ = answer_of(["bundle", str(run)])
    assert status == 0
    assert out.startswith("Bundle: a-run.bundle.zip (")
    check_refusal(*answer_of(["bundle", str(tmp_path)])[::2])
    check_refusal(*answer_of(["bundle", str(run), "--output", str(tmp_path)])[::2])
