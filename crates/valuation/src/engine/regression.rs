//! KNN-Shapley of one validation record, for numeric labels.
//!
//! With target t, `U(S) − U(∅) = Σ_j c_j [j near] /K − (2/K²) Σ_{j<l} y_j y_l [j and l near]`, where "near" means
//! among the K nearest of S and `c_j = 2 t y_j − y_j²/K`. The first sum is the classification game with weights c.
//! In the second the game of a pair depends only on the position q of its farther record: for q ≤ K each of the two
//! earns 1/2; beyond, each earns `β_q = K(K−1) / (2 q (q−1))` and each other record nearer than q loses
//! `γ_q = K(K−1) / (q (q−1) (q−2))`.
//!
//! Ties: averaged over all orders of a group, two (three) of its records take every two (three) of its positions
//! equally often, so only means of β and γ over the position of the farthest are needed. All sums are prefix or
//! suffix sums over groups: O(N) after the sort.

use std::num::NonZeroUsize;

use super::classification::{Tie, shares};
use super::distance::rank_key;

/// The game for a fixed training set; buffers are reused from one validation record to the next.
pub(super) struct Regression<'a> {
    k: f64,
    labels: &'a [f64],
    /// 1/max(K, position) for every position from 0.
    shares: Vec<f64>,
    order: Vec<Neighbour>,
}

#[derive(Clone, Copy)]
struct Neighbour {
    key: u64,
    record: usize,
    label: f64,
}

/// What the pair games of all farther groups add up to.
#[derive(Default)]
struct Farther {
    /// Σ c · pushed_out: T of the classification game.
    weight: f64,
    /// Σ Y β
    earned: f64,
    /// Σ Y γ
    lost: f64,
    /// Σ (Y γ · everything nearer + pairs within · γ of the farther)
    pairs: f64,
}

/// β and γ averaged over the positions of a group.
#[derive(Default)]
struct PairTie {
    /// β of one record's position.
    earned_one: f64,
    /// β of the farther of two records.
    earned_two: f64,
    /// γ of one record's position.
    lost_one: f64,
    /// γ of the farther of two records.
    lost_two: f64,
    /// γ of the farther of two records, if a third is nearer than it, else nothing.
    lost_three: f64,
}

impl<'a> Regression<'a> {
    pub(super) fn new(k: NonZeroUsize, labels: &'a [f64]) -> Self {
        Self {
            k: k.get() as f64,
            labels,
            shares: shares(k, labels.len()),
            order: Vec::with_capacity(labels.len()),
        }
    }

    /// Writes each training record's value for a validation record with target `target`; returns
    /// `U(all) − U(none)`.
    pub(super) fn value(&mut self, target: f64, distances: &[f64], values: &mut [f64]) -> f64 {
        let neighbours = distances.iter().zip(self.labels).enumerate();
        self.order.clear();
        self.order.extend(neighbours.map(|(record, (&distance, &label))| Neighbour {
            key: rank_key(distance),
            record,
            label,
        }));
        // By record too: a tied group then sums its labels in the same order on every platform.
        self.order.sort_unstable_by_key(|neighbour| (neighbour.key, neighbour.record));
        self.share(target, values);
        self.gain(target)
    }

    /// Computes the values group by group, farthest first.
    fn share(&self, target: f64, values: &mut [f64]) {
        let k = self.k;
        let weight = |label: f64| label * (2.0 * target - label / k);
        let mut nearer: f64 = self.order.iter().map(|neighbour| neighbour.label).sum();
        let mut end = self.order.len();
        let mut farther = Farther::default();
        for group in self.order.chunk_by(|one, two| one.key == two.key).rev() {
            let first = end - group.len() + 1;
            let tie = Tie::at(&self.shares, first, group.len());
            let pair = PairTie::at(k, first, group.len());
            let sum: f64 = group.iter().map(|neighbour| neighbour.label).sum();
            let squares: f64 = group.iter().map(|neighbour| neighbour.label * neighbour.label).sum();
            let weights: f64 = group.iter().map(|neighbour| weight(neighbour.label)).sum();
            nearer -= sum;
            for neighbour in group {
                let own = neighbour.label;
                let others = sum - own;
                let other_pairs = (others * others - (squares - own * own)) / 2.0;
                let earned = own * (nearer * pair.earned_one + others * pair.earned_two + farther.earned);
                let lost = farther.pairs - own * farther.lost
                    + others * nearer * pair.lost_two / 2.0
                    + other_pairs * pair.lost_three;
                if let Some(value) = values.get_mut(neighbour.record) {
                    *value =
                        tie.value(weight(own), weights, farther.weight) - 2.0 / (k * k) * (earned - lost);
                }
            }
            farther.weight += weights * tie.pushed_out;
            farther.earned += sum * pair.earned_one;
            farther.lost += sum * pair.lost_one;
            farther.pairs += sum * pair.lost_one * nearer + (sum * sum - squares) / 2.0 * pair.lost_two;
            end = first - 1;
        }
    }

    /// `U(all) − U(none)`, its mean over the orders of ties: of the group across the K-th place some records count.
    fn gain(&self, target: f64) -> f64 {
        let (mut places, mut mean, mut square) = (self.k, 0.0, 0.0);
        for group in self.order.chunk_by(|one, two| one.key == two.key) {
            let size = group.len() as f64;
            let inside = size.min(places);
            let sum: f64 = group.iter().map(|neighbour| neighbour.label).sum();
            let squares: f64 = group.iter().map(|neighbour| neighbour.label * neighbour.label).sum();
            let two = if inside > 1.0 { inside * (inside - 1.0) / (size * (size - 1.0)) } else { 0.0 };
            let part = sum * inside / size;
            square += 2.0 * mean * part + squares * inside / size + (sum * sum - squares) * two;
            mean += part;
            places -= inside;
            if places <= 0.0 {
                break;
            }
        }
        2.0 * target * mean / self.k - square / (self.k * self.k)
    }
}

impl PairTie {
    /// The means over `size` positions from `first` (counted from one).
    fn at(k: f64, first: usize, size: usize) -> Self {
        let mut tie = Self::default();
        let count = size as f64;
        let chosen = k * (k - 1.0);
        for ahead in 0..size {
            let position = (first + ahead) as f64;
            let inside = position <= k;
            let lost =
                if inside { 0.0 } else { chosen / (position * (position - 1.0) * (position - 2.0).max(1.0)) };
            let earned = if inside { 0.5 } else { chosen / (2.0 * position * (position - 1.0)) };
            // Of two (three) records the farthest is here as often as the rest finds places ahead of it.
            let ahead = ahead as f64;
            let two = if size > 1 { 2.0 * ahead / (count * (count - 1.0)) } else { 0.0 };
            let three = if size > 2 { two * (ahead - 1.0) / (count - 2.0) } else { 0.0 };
            tie.earned_one += earned / count;
            tie.earned_two += earned * two;
            tie.lost_one += lost / count;
            tie.lost_two += lost * two;
            tie.lost_three += lost * three;
        }
        tie
    }
}
