"""The events of a run: what the lines of its ledger hold, and how a file of them is read.

A ledger is a file of events, one JSON object a line. `bench.search.ledger` writes it, `bench.search.fold` tells what
follows from it.

**Events.** `event` names the kind. Every event has `time`, seconds of wall clock since 1970, for display
only: no charge is computed from it.

`run`        the first line. `format` (int); `settings` (dict: what identifies the run, compared when it is
             continued, `bench.search.experiment.Experiment.identity`); `plan` (dict: `epochs`, `calibration`
             {method: {"epoch", "evaluation", "start", "published": seconds}}, `calibration_seconds` charged, `startup`,
             `choices` {method: {hyper-parameter: [those left of its choices, as the others train the same]}}, `halved`
             [methods and baselines that have half the batch, as the device's memory does not hold the whole])
`session`    a driver begins: `number` (from 0), `budget` {"device": "gpu"|"cpu", "seconds": float},
             `slots`, `rate` (device-seconds per second of a slot), `share` (device-seconds per method),
             `facts` (dict: whatever the command wants on record: device name, versions, commit, ...) and, where
             it calibrated anew, `plan` (dict: what is new of the run's: `calibration`, `calibration_seconds`
             of all calibrations, `startup`, `halved`); where a run of recipes alone is searched from now on, `settings`
             (dict: `searcher`)
`suggested`  a trial exists: `uid`, `method`, `stage`, `seed`, `number` (0, 1, ... within method and stage),
             `hyperparameters`, `parameters` (as Optuna stores them; search only), `published` (bool: the published
             recipe), `ours` (true for our recipe where it is another one, else left out), `of` (uid of the search
             trial that a confirm trial repeats, or of the training whose encoder is judged, or null), `epochs`,
             `evaluate_at`, `halved` (whether it has half the images in a step), `protocol` (what judges the encoder, of
             the stage `evaluate`, which has one epoch; else left out)
`assigned`   a slot is kept for it: `uid`, `attempt` (1, 2, ...); charging begins, on a cluster with its
             worker's first sign of life
`started`    a worker has it: `uid`, `held`, `startup`
`reported`   one epoch: `uid`, `attempt`, `report` (dict: `EpochReport.to_json`; null for NaN),
             `held`, `decision` (`continue`, `complete`, `pruned`, `failed`, `cut`), `reason` (or null); where
             it failed, its `kind`; with an attempt's first report, `facts` (dict: the trainer's `facts`
             attribute, where it has one: `encoder_parameters`, `own_encoder`, `device`), and with the last one of a
             training whose encoder was kept, {"encoder_file": true}
`held`       heartbeat: `held` {uid: device-seconds}, `startup`
`lost`       its worker died without a word: `uid`, `held`, `startup`, `reason`. The trial is tried again.
`cut`        the budget, the user or the driver's death stopped it: the same fields. It stays open.
`halved`     memory was out before its first report: the same fields. It stays open, and is tried again with half the
             images in a step; so have all search trials of its method that begin later
`failed`     it ended between two reports: the same fields, and its `kind`
`chosen`     search and race ended for a method: `method`, `winner` (uid or null), `share` (0 where nothing was to be
             searched); where it was given up, because its trials fail, the `reason`; where the winner was compared with
             the published recipe, `better` (the probability that it is)
`closed`     a driver ended in good order: `reason` ("done", "budget", "interrupted", "error")

`held` is always the trial's total so far in device-seconds (slot time x GPUs per trial; core-seconds on the
CPU), from monotonic clocks, everything counted from the moment a worker has it. `startup` is the run's total of
the time that slots waited for their workers to start: charged to the budget, but to no method. A decision stands
in the line of the report that caused it: both are durable or neither is.

The `kind` of a failure says whose it is. The recipe's: `diverged` (something is not finite), `collapsed`, `memory`
(the device's or the machine's is too small for it), `error` (the trainer raised). The machine's: `hung` (an epoch took
too long), `lost` (workers died), `device` (an error of the device). The user's: `stopped` (by hand, with
`ssl-bench stop`); it says nothing of recipe or machine, so a searcher does not learn from it and no method is given up
for it, and what the trial held stays charged. What the trial reported before stands, and with it every decision. Older
ledgers have no kinds.
"""

import json
import math
from pathlib import Path
from typing import Any

from bench.errors import UserError

FORMAT = 6
READABLE = (1, 2, 3, 4, 5, 6)
"""Runs of formats 1 to 5 can be read, but not continued: their images were normalised by ImageNet's mean and deviation.
The search trials of 1 to 4 had seeds of their own, and those of 1 to 3 were trained on nine tenths of the training
images and judged on the others. The methods of formats 1 and 2 had other
recipes and heads, and one recipe each, where ours may stand beside the published one; format 1, that of version 0.1,
also recorded batch sizes, effective hyper-parameters and failures otherwise."""


def plain(value: Any) -> Any:
    """`value` as strict JSON holds it: NaN and infinity become None, tuples lists, numpy scalars numbers, and what is
    not Unicode in a text, such as a path's odd bytes, an escape."""
    if isinstance(value, dict):
        return {plain(str(key)): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if value is None or isinstance(value, bool | int):
        return value
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise TypeError(f"the ledger holds plain values, not {type(value).__name__}")


def read_events(path: str | Path, begin: int = 0) -> tuple[list[dict[str, Any]], int]:
    """The events of a ledger and the length in bytes of their lines; of those from byte `begin` on, at which a line
    begins, where it was read so far before.

    A power cut may leave any part of the last line, or empty pages in it: whatever is no event at the end is left out.
    Raises UserError if a line before a whole one is damaged, or the file is of a format that this version cannot read.
    """
    path = Path(path)
    content = b""
    if path.exists():
        with open(path, "rb") as file:
            file.seek(begin)
            content = file.read()
    events: list[dict[str, Any]] = []
    good, damaged = 0, 0
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            damaged = damaged or number
            continue
        if damaged:
            raise UserError(f"{path}: line {damaged} is damaged; restore the file, or use --fresh or another --run-dir")
        events.append(event)
        good += len(line) + 1
    if events and not begin and (found := events[0].get("format")) not in READABLE:
        raise UserError(
            f"{path} has format {found}, this version reads {' and '.join(map(str, READABLE))}; "
            "continue it with the version that wrote it, or use --fresh or another --run-dir"
        )
    return events, good


def read_own_events(path: str | Path) -> tuple[list[dict[str, Any]], int]:
    """`read_events` of a run that is to be continued. Raises UserError also where an earlier version began it."""
    events, good = read_events(path)
    if events and (found := events[0]["format"]) != FORMAT:
        otherwise = {4: "had seeds of their own", 5: "saw images normalised otherwise"}
        why = otherwise.get(found, "were judged on images held out")
        raise UserError(
            f"{Path(path).parent} holds a run that an earlier version began (format {found}) and whose trials {why}; "
            "continue it with that version, or use --fresh to begin it anew, or --run-dir for another place"
        )
    return events, good
