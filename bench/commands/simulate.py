"""`ssl-bench simulate`: a search in virtual time."""

import click

from bench.commands.options import SETTINGS, number, option, whole

COUNT = whole(1, 10**9)


@click.command("simulate", context_settings=SETTINGS)
@option("--slots", "Trials that run at a time (default 1000).", read=COUNT, default=1000, metavar="NUMBER")
@option("--trials", "For which the budget is enough (default 20000).", read=COUNT, default=20_000, metavar="NUMBER")
@option("--methods", "Whose curves are made up (default 16).", read=COUNT, default=16, metavar="NUMBER")
@number("--epochs", "Of every training (default 27).", default=27)
@option("--searcher", "tpe (default), random, package.module:function or file.py:function.", default="tpe")
@option(
    "--replay",
    "A run's epochs.parquet or a recorded table (reports/tabular), whose methods, curves and epochs take the place of "
    "those made up.",
)
def command(slots: int, trials: int, methods: int, epochs: int, searcher: str, replay: str | None) -> None:
    """Runs the real search in virtual time.

    No worker is needed. It tells how many trials ran, how long that took here, and how evenly the methods were served.

    \b
    ssl-bench simulate --slots 1000 --trials 20000
    ssl-bench simulate --slots 8 --replay reports/cifar10-resnet18/epochs.parquet
    ssl-bench simulate --slots 2 --trials 30 --replay reports/tabular/shapes.parquet
    """
    from bench.search.simulate import plan_for, recorded, summary, synthetic

    spaces = None
    if replay is None:
        calibration, curve = synthetic(methods)
    else:
        from bench.tabular.replay import is_table, load  # and with it pandas, which made-up curves do not need

        if is_table(replay):
            table = load(replay)
            calibration, curve, epochs, spaces = table.costs, table.curve(), table.epochs, table.spaces
        else:
            calibration, curve, epochs = recorded(replay)
    print(summary(plan_for(calibration, slots, trials, epochs, searcher, spaces), curve))
