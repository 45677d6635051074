"""The end of a method's search: its winner, or why there is none."""

from collections.abc import Mapping
from typing import Any

from bench.search.fold import EventLog
from bench.search.race import Race
from bench.search.shares import Shares
from bench.search.tally import Tally
from bench.search.trials import Trial

FAILURES = 5
"""So many failures of one kind, and no evaluation that went well: the method is given up."""


class Winners:
    """A method whose trials fail is given up: after so many failures of one kind no other trial is proposed, unless one
    has come through its first evaluation, and when those that run have failed too, its search ends without a winner,
    and its published recipe alone has its seeds."""

    def __init__(self, ledger: EventLog, tallies: Mapping[str, Tally], shares: Shares, race: Race) -> None:
        self._ledger, self._fold, self._tallies, self._shares = ledger, ledger.fold, tallies, shares
        self._race = race

    def only_fails(self, method: str) -> bool:
        """Whether enough search trials have failed alike, and none has come through an evaluation."""
        if max(self._tallies[method].failures.values(), default=0) < FAILURES:
            return False
        return not any(
            trial.decisions.get(epoch, "failed") != "failed"
            for trial in self._fold.of(method, "search")
            for epoch in trial.evaluate_at
        )

    def chosen(self, method: str) -> bool:
        """Whether the search has ended, for a share as large as it is now."""
        chosen = self._fold.chosen.get(method)
        return chosen is not None and bool(chosen["share"] >= self._shares.share * (1 - 1e-9))

    def take(self, recipe: Trial) -> None:
        """Nothing is searched: this is what there is, until the run goes on with a searcher."""
        if recipe.method not in self._fold.chosen:
            self._ledger.append("chosen", method=recipe.method, winner=recipe.uid, share=0.0)

    def choose(self, method: str) -> None:
        """End the method's search: choose the winner, or say why there can be none."""
        winner, better = self._race.winner(method)
        values: dict[str, Any] = {} if better is None else {"better": round(better, 6)}
        if self.only_fails(method):
            kind, count = self._tallies[method].failures.most_common(1)[0]
            last = [t for t in self._fold.of(method, "search") if t.state == "failed" and t.kind == kind][-1]
            values["reason"] = (
                f"{count} trials failed alike and none came through its first evaluation; "
                f"the last, {last.uid}: {last.reason}"
            )
        uid = winner.uid if winner else None
        self._ledger.append("chosen", method=method, winner=uid, share=self._shares.share, **values)
