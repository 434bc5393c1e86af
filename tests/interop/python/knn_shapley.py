"""Exact KNN-Shapley by its definition in NumPy: the tests' own word on what a value must be.

For one validation record, with the training records by distance and m_i = 1 where the label of the i-th matches:
s_i = m_i w_i + sum over j > i of m_j (w_j - w_(j-1)), with w_i = min(K, i) / (i K). Records at equal distance share the
mean over all their orders. A value is the mean over the validation records.
"""

import numpy as np


def knn_shapley(features, labels, validation_features, validation_labels, k):
    count = len(labels)
    positions = np.arange(1, count + 1)
    weights = np.minimum(k, positions) / (positions * k)
    values = np.zeros(count)
    for row, label in zip(validation_features, validation_labels, strict=True):
        distances = ((features - row) ** 2).sum(axis=1)
        values += _one(distances, (labels == label).astype(float), weights)
    return values / len(validation_labels)


def _one(distances, matches, weights):
    _, group, sizes = np.unique(distances, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes) - 1
    first = last - sizes + 1
    hits = np.bincount(group, weights=matches)
    mean_weight = np.add.reduceat(weights, first) / sizes
    # What each group brings to every record that is nearer: its mean match, over the weights it spans.
    before = np.concatenate(([0.0], weights[last[:-1]]))
    brought = hits / sizes * (weights[last] - before)
    beyond = brought.sum() - np.cumsum(brought)
    others = (hits[group] - matches) / np.maximum(sizes[group] - 1, 1)
    within = others * (weights[last] - mean_weight)[group]
    return matches * mean_weight[group] + within + beyond[group]
