"""The digits dataset and the golden values of its training records."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DATA = Path(__file__).parents[3] / "crates/valuation/tests/data"
FEATURES = 64
K = 5


@dataclass(frozen=True)
class Part:
    """The records of one split."""

    split: str
    ids: list
    features: np.ndarray
    labels: np.ndarray

    def of(self, wanted):
        """The records for which `wanted`, a mask, holds."""
        ids = [id for id, keep in zip(self.ids, wanted, strict=True) if keep]
        return Part(self.split, ids, self.features[wanted], self.labels[wanted])


def read():
    with (DATA / "digits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1797
    return part(rows, "TRAIN"), part(rows, "VALIDATION")


def part(rows, split):
    rows = [row for row in rows if row["split"] == split]
    features = np.array([[float(row[f"f{i}"]) for i in range(FEATURES)] for row in rows])
    return Part(split, [row["record_id"] for row in rows], features, np.array([float(row["label"]) for row in rows]))


def golden():
    with (DATA / "digits.knn_shapley.k5.csv").open() as file:
        return {row["record_id"]: float(row["value"]) for row in csv.DictReader(file)}
