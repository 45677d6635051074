"""A Gaussian process of scores in a unit cube, and by how much a point is expected to be better than what there is.

Of few trainings it tells more than densities of good and bad ones do (`docs/log.md`, 2026-11-27). Nothing is optimised:
length scales and noise are drawn from what is likely beforehand, and weighted by how well they explain the scores.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr

Floats = NDArray[np.float64]

DRAWS, LIKELY = 32, 8
"""Of length scales and noise, and of those the most likely that are averaged."""
LENGTH, NOISE = 0.35, 0.3
"""Medians of what is drawn: a length scale in a cube of one dimension (it grows with the root of their number), and the
noise of a training as a part of the spread of the scores."""
SPREAD = 0.7
"""Of the logarithms of both."""
CHOICE = 0.5
"""The squared distance between two choices."""


def expected_improvement(
    random: np.random.Generator, points: Floats, scores: Floats, running: Floats, candidates: Floats, choices: list[int]
) -> Floats:
    """Its logarithm, for each candidate: over the best that the process believes to be there, as scores are noisy, and
    as if what runs came out as expected.

    Points, those that run and candidates are rows of coordinates in [0, 1]; the columns `choices` hold indices of
    choices. Equation 3 of arXiv 2310.20708, averaged over the draws.
    """
    count, dimensions = points.shape
    scales = np.exp(random.normal(math.log(LENGTH * math.sqrt(dimensions)), SPREAD, (DRAWS, dimensions)))
    noise = np.exp(random.normal(math.log(NOISE), SPREAD, DRAWS))

    def covariance(rows: Floats, columns: Floats) -> Floats:
        """(draws, rows, columns), of a process with unit variance: Matérn, 5/2."""
        squares = (rows[:, None] - columns[None]) ** 2
        squares[..., choices] = CHOICE * (squares[..., choices] > 0)
        distance: Floats = np.sqrt(5 * (squares @ (scales.T**-2)).transpose(2, 0, 1))
        return (1 + distance + distance**2 / 3) * np.exp(-distance)

    def whitener(seen: Floats) -> tuple[Floats, Floats]:
        """The inverses of the Cholesky factors of what is seen, (draws, seen, seen), and their log determinants."""
        factors = np.linalg.cholesky(covariance(seen, seen) + (noise**2)[:, None, None] * np.eye(len(seen)))
        return np.linalg.inv(factors), -np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)

    centred = (scores - scores.mean())[:, None]
    whiten, determinants = whitener(points)
    white = whiten @ centred
    variance = ((white[..., 0] ** 2).sum(1) + 2) / (count + 2)  # of which two are from before: it is about one
    evidence = determinants - 0.5 * (count + 2) * np.log(variance)
    likely = np.argsort(-evidence)[:LIKELY]
    scales, noise, variance, evidence = scales[likely], noise[likely], variance[likely], evidence[likely]
    whiten, white = whiten[likely], white[likely]
    if len(running):
        believed = (whiten @ covariance(points, running)).transpose(0, 2, 1) @ white
        points = np.concatenate([points, running])
        whiten, _ = whitener(points)
        white = whiten @ np.concatenate([np.broadcast_to(centred, (len(likely), count, 1)), believed], axis=1)

    def explained(places: Floats) -> tuple[Floats, Floats]:
        """(draws, seen, places), and the means, (draws, places)."""
        found = whiten @ covariance(points, places)
        return found, (found.transpose(0, 2, 1) @ white)[..., 0]

    found, mean = explained(candidates)
    spread = np.sqrt(np.maximum(variance[:, None] * (1 - (found**2).sum(1)), 1e-12))
    best = explained(points)[1].max(1, keepdims=True)
    gained = np.log(spread) + _log_improvement((mean - best) / spread)
    averaged: Floats = logsumexp(gained + (evidence - logsumexp(evidence))[:, None], axis=0)
    return averaged


def _log_improvement(z: Floats) -> Floats:
    """log(phi(z) + z Phi(z)), by its asymptote where both nearly cancel."""
    density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    near = np.maximum(z, -5.0)
    exact = np.log(np.exp(-0.5 * near**2) / math.sqrt(2 * math.pi) + near * ndtr(near))
    found: Floats = np.where(z > -5, exact, density - 2 * np.log(np.maximum(-z, 5.0)))
    return found
