"""What the parts of a method's block are made from."""

import numpy as np
import pandas as pd

from bench.report.sections.method.tried import sample


def test_the_winner_is_among_the_curves_drawn_of_many():
    trials = pd.DataFrame({"train_knn_200": np.random.default_rng(0).random(1000)})
    drawn = sample(trials, "train_knn_200", 100)
    assert len(drawn) == 100
    assert trials.train_knn_200.idxmax() in drawn.index
