"""What a run leaves to look at, as files."""

import io
import json
from functools import partial

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.errors import UserError
from bench.report import inspections, results
from bench.report.inspections import Images, Inspected
from tests.bench.report import inspected_run


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [8, 32, 80])
def test_a_sheet_has_every_image_at_its_place_small(channels, size):
    images = np.zeros((45, channels, size, size), np.uint8)
    images[:, 0] = np.arange(45)[:, None, None] * 5
    side, columns, content = inspections.sheet([images[:20], images[20:]])
    sheet = Image.open(io.BytesIO(content))
    assert sheet.format == "WEBP"
    assert (side, sheet.size) == (min(32, size), (columns * side, 2 * side))
    seen = np.asarray(sheet)[side // 2 :: side, side // 2 :: side, 0].reshape(-1)[:45].astype(int)
    assert np.abs(seen - np.arange(45) * 5).max() <= 12


@given(st.integers(1, 30))
def test_a_map_in_whole_numbers_keeps_its_shape(count):
    places = np.random.default_rng(count).normal(size=(count, 2)).astype(np.float32)
    found = np.array(inspections.whole(places))
    assert found.min() == 0
    assert found.max() <= inspections.EXTENT - 1
    if count > 1:
        scale = (inspections.EXTENT - 1) / np.ptp(places, axis=0).max()
        assert np.abs((found - found[0]) - scale * (places - places[0])).max() <= 1.01


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return inspected_run.write(tmp_path_factory.mktemp("inspected"), ("byol", "simclr"), trials=2, seeds=2)


def test_what_is_written_is_read_again_and_the_same_values_are_the_same_bytes(run):
    found = inspections.load(run, results.load(run))
    of = next(iter(found.of))
    assert found.of[of].files(of)[f"inspected/{of}.json"] == (run / "inspected" / f"{of}.json").read_bytes()
    assert found.images.files()["inspected/images.json"] == (run / "inspected" / "images.json").read_bytes()
    assert len(found.of) == len(list((run / "inspected").glob("*.json"))) - 1


def test_a_run_without_such_files_has_nothing_and_of_an_encoder_whose_file_is_gone_neither(tmp_path):
    run = inspected_run.write(tmp_path, ("byol",), trials=2, seeds=2)
    found = results.load(run)
    uid = next(iter(inspections.load(run, found).of))
    (run / "inspected" / f"{uid}.json").unlink()
    assert uid not in inspections.load(run, found).of
    (run / "inspected" / "images.webp").unlink()
    assert inspections.load(run, found) is None


def test_nothing_outside_the_folder_is_read(run):
    images = Images.read(run)
    (run / "secret.json").write_text("no JSON")
    assert Inspected.read(run, "../secret", images) is None


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_told_in_a_line(data, run):
    images = Images.read(run)
    one = next(path.stem for path in sorted((run / "inspected").glob("byol*.json")))
    name = data.draw(st.sampled_from(["images", one]))
    path = run / "inspected" / f"{name}.json"
    whole = path.read_bytes()
    told = json.loads(whole)
    key = data.draw(st.sampled_from(sorted(told)))
    wrong = data.draw(st.sampled_from([None, "x", -5, [-5], [[10**9]], {}, [["<script>"]], [[0.5, 0.5]], True, 2.0]))
    try:
        content = data.draw(st.sampled_from([json.dumps(told | {key: wrong}).encode(), whole[:40], b"[" * 9999, b"[]"]))
        path.write_bytes(content)
        read = partial(Images.read, run) if name == "images" else partial(Inspected.read, run, name, images)
        with pytest.raises(UserError, match="is damaged; remove it, and the page is made without it") as error:
            read()
        assert "\n" not in str(error.value)
    finally:
        path.write_bytes(whole)
