"""How often predictions are right, in all and of each class."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from algorithms.evaluation import accuracy
from algorithms.evaluation.metrics import FEW_KNN, KNN_200

CLASSES = 5
pairs = st.lists(st.tuples(st.integers(-1, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=50)


@pytest.mark.filterwarnings("ignore")
@given(pairs)
def test_they_are_as_scikit_learn_has_them(pairs):
    predicted, true = (np.array(side) for side in zip(*pairs, strict=True))
    found = accuracy.figures(KNN_200, torch.from_numpy(predicted), torch.from_numpy(true), CLASSES)
    assert found.pop("knn_200") == pytest.approx(accuracy_score(true, predicted))
    assert found.pop("knn_200_balanced") == pytest.approx(balanced_accuracy_score(true, predicted))
    there = np.unique(true)
    recalls = recall_score(true, predicted, labels=there, average=None)
    assert found == pytest.approx({f"knn_200/{place}": each for place, each in zip(there, recalls, strict=True)})


def test_classes_are_told_one_by_one_only_where_the_metric_has_them():
    labels = torch.tensor([0, 1, 1])
    assert set(accuracy.figures(FEW_KNN["5"], labels, labels, 2)) == {"few_knn_5", "few_knn_5_balanced"}
