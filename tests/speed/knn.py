"""k nearest neighbours of 10,000 queries in 50,000 x 512 features: ours, scikit-learn's and faiss's exact search.

python tests/speed/knn.py [--queries 10000] [--bank 50000] [--width 512] [--k 200] [--threads 1]
"""

import argparse
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits
from timing import about_this_machine, interleave, medians, print_table, ratios

from algorithms.evaluation.knn import knn_predict
from algorithms.training.process import keep_freed_memory

CLASSES, TEMPERATURE = 10, 0.1


def vote(similarity: np.ndarray, place: np.ndarray, labels: torch.Tensor) -> torch.Tensor:
    """Our vote on a peer's neighbours."""
    votes = torch.zeros(len(place), CLASSES)
    weight = torch.from_numpy((similarity - 1) / TEMPERATURE).exp()
    return votes.scatter_add_(1, labels[torch.from_numpy(place)], weight).argmax(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--bank", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()  # as training does; here for all contenders
    torch.set_num_threads(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    print(about_this_machine(arguments.threads))
    torch.manual_seed(0)
    centres = torch.randn(CLASSES, arguments.width)
    labels = torch.randint(CLASSES, (arguments.bank,))

    def features(of: torch.Tensor) -> torch.Tensor:
        return F.normalize(centres[of] + 6 * torch.randn(len(of), arguments.width), dim=1)

    bank = features(labels)
    truth = torch.randint(CLASSES, (arguments.queries,))
    queries = features(truth)
    k = arguments.k
    found = {}

    def ours():
        (found["ours"],) = knn_predict(queries, bank, labels, CLASSES, [(k, TEMPERATURE)])

    def with_faiss():
        index = faiss.IndexFlatIP(arguments.width)
        index.add(bank.numpy())
        similarity, place = index.search(queries.numpy(), k)
        found["faiss IndexFlatIP"] = vote(similarity, place, labels)

    def with_scikit_learn():
        def weights(distance):  # of unit vectors: distance**2 = 2 - 2 cosine
            return np.exp(-(distance**2) / (2 * TEMPERATURE))

        classifier = KNeighborsClassifier(k, weights=weights, algorithm="brute")
        classifier.fit(bank.numpy(), labels.numpy())
        found["scikit-learn, brute force"] = torch.from_numpy(classifier.predict(queries.numpy()))

    contenders = {"scikit-learn, brute force": with_scikit_learn, "faiss IndexFlatIP": with_faiss, "ours": ours}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    with threadpool_limits(arguments.threads):
        seconds = interleave(contenders, arguments.rounds)
    rows = []
    for name, samples in seconds.items():
        wall, cpu = medians(samples)
        same = (found[name] == found["ours"]).double().mean().item()
        accuracy = (found[name] == truth).double().mean().item()
        rows.append([name, wall, cpu, ratios(samples, seconds["ours"])[1], f"{same:.2%}", f"{accuracy:.2%}"])
    size = f"{arguments.queries:,} queries, bank {arguments.bank:,} x {arguments.width}, k = {k}"
    print_table(
        f"{size}; ours took {grown:.0f} MiB",
        ["", "wall s", "CPU s", "CPU, x ours", "same answer", "accuracy"],
        rows,
    )


if __name__ == "__main__":
    main()
