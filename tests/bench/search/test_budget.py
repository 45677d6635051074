import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import UserError
from bench.search.budget import MOST_SECONDS, Budget, charged_rate, slots, trials_per_device


@pytest.mark.parametrize(
    ("text", "device", "seconds"),
    [
        ("8gpu-hours", "gpu", 28800),
        ("90gpu-minutes", "gpu", 5400),
        ("20cpu-minutes", "cpu", 1200),
        ("1.5cpu-hours", "cpu", 5400),
        ("1 GPU-day", "gpu", 86400),
        (".5cpu-minute", "cpu", 30),
    ],
)
def test_budgets_are_read(text, device, seconds):
    assert Budget.parse(text) == Budget(device, seconds)


@pytest.mark.parametrize(
    "text", ["8", "8 hours", "gpu-hours", "-1gpu-hours", "8tpu-hours", "0gpu-hours", "8gpu-weeks", ""]
)
def test_what_is_no_budget_is_refused_with_an_example(text):
    with pytest.raises(UserError, match="8gpu-hours") as error:
        Budget.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["9" * 17 + "cpu-days", "9" * 400 + "gpu-hours", "1000001gpu-days"])
def test_a_budget_beyond_all_clocks_is_refused_in_one_line(text):
    with pytest.raises(UserError, match="more than 1,000,000 days") as error:
        Budget.parse(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["infgpu-hours", "nangpu-hours", "1e3gpu-hours"])
def test_only_digits_are_a_number(text):
    with pytest.raises(UserError, match="not understood"):
        Budget.parse(text)


@given(st.integers(1, MOST_SECONDS - 60), st.sampled_from(["gpu", "cpu"]))
def test_a_rounded_budget_is_enough_and_can_be_typed(seconds, device):
    rounded = Budget(device, seconds).rounded_up()
    assert seconds <= rounded.seconds < seconds + 60
    assert Budget.parse(str(rounded)).seconds >= 0.999 * rounded.seconds


@pytest.mark.parametrize("text", ["8gpu-hours", "90gpu-minutes", "107cpu-seconds", "20cpu-minutes", "72.5gpu-hours"])
def test_a_budget_is_said_as_people_write_it(text):
    assert str(Budget.parse(text)) == text


@pytest.mark.parametrize(
    ("devices", "rate", "expected"),
    [
        (1, 1.0, 1),
        (8, 1.0, 8),
        (1, 0.5, 2),
        (8, 0.5, 16),
        (1, 0.6, 1),
        (8, 0.6, 8),
        (8, 0.3, 24),
        (8, 0.4, 16),
        (0, 1.0, 0),
    ],
)
def test_slots_are_what_whole_devices_hold(devices, rate, expected):
    assert slots(devices, rate) == expected


@given(st.floats(0.001, 1), st.integers(1, 64))
def test_trials_that_share_a_device_are_charged_the_whole_of_it_whatever_part_they_ask_for(part, devices):
    rate = charged_rate(part)
    assert slots(devices, rate) * rate == pytest.approx(devices)
    assert trials_per_device(rate) == trials_per_device(part)
    assert rate >= part * (1 - 1e-5)
