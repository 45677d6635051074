"""A budget: device time that trials may hold, such as `8gpu-hours` or `20cpu-minutes`."""

import math
import re
from dataclasses import dataclass

from bench.errors import UserError

_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
MOST_DAYS = 1_000_000
MOST_SECONDS = MOST_DAYS * _UNITS["days"]


def slots(devices: float, rate: float) -> int:
    """The trials that so many devices run at a time, each of which takes the part `rate` of one."""
    return int(devices + 1e-6) * trials_per_device(rate)


def trials_per_device(rate: float) -> int:
    return int(1 / rate + 1e-6)


def charged_rate(part: float) -> float:
    """The device-seconds of a second of a trial that asks for a `part` of a device: all of what the trials that fit on
    it leave is theirs. Of 0.6 devices a trial one fits, and is charged the whole."""
    return 1 / trials_per_device(part)


@dataclass(frozen=True)
class Budget:
    """`seconds` of device time; `device` is "gpu" (GPU-seconds) or "cpu" (core-seconds)."""

    device: str
    seconds: float

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """`8gpu-hours`, `90gpu-minutes`, `1.5cpu-hours`, ... Raises UserError."""
        match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(gpu|cpu)-(second|minute|hour|day)s?", text.strip().lower())
        if match is None:
            raise UserError(f"budget {text!r} is not understood; write it like 8gpu-hours or 20cpu-minutes")
        number, device, unit = match.groups()
        if float(number) <= 0:
            raise UserError(f"budget {text!r} is no time at all; write it like 8gpu-hours or 20cpu-minutes")
        seconds = float(number) * _UNITS[unit + "s"]
        if seconds > MOST_SECONDS:
            raise UserError(f"budget {text!r} is more than {MOST_DAYS:,} days; write it like 8gpu-hours")
        return cls(device, seconds)

    def __str__(self) -> str:
        """In the largest unit that gives a whole number: "8gpu-hours", "90gpu-minutes"; above ten hours in hours."""
        whole = (unit for unit in ("hours", "minutes") if self.seconds % _UNITS[unit] == 0)
        unit = "hours" if self.seconds >= 36000 else next(whole, "seconds")
        number = self.seconds / _UNITS[unit]
        return f"{number:.6g}{self.device}-{unit}" if number < 1e6 else f"{number:.0f}{self.device}-{unit}"

    def rounded_up(self) -> "Budget":
        """At least as long, and short to write: whole minutes, or whole seconds below two minutes."""
        step = 60 if self.seconds > 120 else 1
        return Budget(self.device, math.ceil(self.seconds / step) * step)
