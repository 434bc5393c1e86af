//! KNN-Shapley of one validation record, for class labels.
//!
//! Jia et al. give, for records in order of distance with a_i = 1 if the label matches and M_r = max(K, r),
//! `s_i = a_i/M_i − Σ_{j>i} a_j (1/M_{j−1} − 1/M_j)`.
//!
//! Ties: let a group hold positions first..=last, g records, m of them matching, and let
//! `H = Σ_{p=first..=last} 1/M_p`. Over all orders of the group each record is at each position equally often, and
//! any later position of the group holds one of the other records. The sums telescope to
//! `s_i = a_i H/g − (m − a_i) (H − g/M_last) / (g (g−1)) − T`, where T is the sum over all farther groups of
//! `(m/g) (1/M_{first−1} − 1/M_last)`. A group of one is the formula of Jia et al.
//!
//! So groups without a match need no order of their own: only matching distances are sorted, and every other record
//! is located among them.

use std::num::NonZeroUsize;

use super::distance::rank_key;

/// The game for a fixed training set; buffers are reused from one validation record to the next.
pub(super) struct Classification<'a> {
    k: usize,
    labels: &'a [i32],
    /// 1/max(K, position) for every position from 0.
    shares: Vec<f64>,
    /// The distinct distances of matching records, ascending.
    keys: Vec<u64>,
    /// For each key: the records at that distance.
    groups: Vec<Group>,
    /// For each record: the first key not nearer than it.
    slots: Vec<usize>,
}

/// The records at one distance, and the clashing ones between it and the next nearer one.
#[derive(Clone, Copy, Default)]
struct Group {
    nearer: usize,
    matches: usize,
    clashes: usize,
    first: usize,
    value_nearer: f64,
    value_match: f64,
    value_clash: f64,
}

impl Group {
    fn size(&self) -> usize {
        self.matches + self.clashes
    }
}

impl<'a> Classification<'a> {
    pub(super) fn new(k: NonZeroUsize, labels: &'a [i32]) -> Self {
        Self {
            k: k.get(),
            labels,
            shares: shares(k, labels.len()),
            keys: Vec::new(),
            groups: Vec::new(),
            slots: vec![0; labels.len()],
        }
    }

    /// Writes each training record's value for a validation record of class `label`; returns `U(all) − U(none)`.
    pub(super) fn value(&mut self, label: i32, distances: &[f64], values: &mut [f64]) -> f64 {
        self.group(label, distances);
        let utility = self.place();
        self.share();
        for (((value, &known), &distance), &slot) in
            values.iter_mut().zip(self.labels).zip(distances).zip(&self.slots)
        {
            // Beyond the last match nothing nearer can be pushed out: worth nothing.
            *value = match (self.groups.get(slot), self.keys.get(slot)) {
                (Some(group), _) if known == label => group.value_match,
                (Some(group), Some(&key)) if key == rank_key(distance) => group.value_clash,
                (Some(group), _) => group.value_nearer,
                (None, _) => 0.0,
            };
        }
        utility
    }

    /// Sorts the matching distances and counts every record into its group.
    fn group(&mut self, label: i32, distances: &[f64]) {
        let matching = self.labels.iter().zip(distances).filter(|&(&known, _)| known == label);
        self.keys.clear();
        self.keys.extend(matching.map(|(_, &distance)| rank_key(distance)));
        self.keys.sort_unstable();
        self.keys.dedup();
        self.groups.clear();
        self.groups.resize(self.keys.len(), Group::default());
        for ((&known, &distance), slot) in self.labels.iter().zip(distances).zip(&mut self.slots) {
            let key = rank_key(distance);
            *slot = self.keys.partition_point(|&other| other < key);
            if let Some(group) = self.groups.get_mut(*slot) {
                if known == label {
                    group.matches += 1;
                } else if self.keys.get(*slot) == Some(&key) {
                    group.clashes += 1;
                } else {
                    group.nearer += 1;
                }
            }
        }
    }

    /// Gives each group its positions, nearest first; returns the mean of U(all) over the orders of ties.
    fn place(&mut self) -> f64 {
        let (mut next, mut votes) = (1, 0.0);
        for group in &mut self.groups {
            group.first = next + group.nearer;
            next = group.first + group.size();
            let inside = self.k.saturating_sub(group.first - 1).min(group.size());
            votes += group.matches as f64 * inside as f64 / group.size() as f64;
        }
        votes / self.k as f64
    }

    /// Computes each group's values, farthest first.
    fn share(&mut self) {
        let mut farther = 0.0;
        for group in self.groups.iter_mut().rev() {
            let tie = Tie::at(&self.shares, group.first, group.size());
            let matches = group.matches as f64;
            group.value_match = tie.value(1.0, matches, farther);
            group.value_clash = tie.value(0.0, matches, farther);
            farther += matches * tie.pushed_out;
            group.value_nearer = -farther;
        }
    }
}

/// 1/max(K, position) for positions 0..=records.
pub(super) fn shares(k: NonZeroUsize, records: usize) -> Vec<f64> {
    (0..=records).map(|position| 1.0 / k.get().max(position) as f64).collect()
}

/// The position-dependent factors of a group of tied records.
pub(super) struct Tie {
    /// H/g: what a record earns by itself.
    own: f64,
    /// (H − g/M_last) / (g (g−1)): what it loses to each other record of the group.
    lost: f64,
    /// (1/M_{first−1} − 1/M_last) / g: what each record of the group costs every nearer one.
    pub(super) pushed_out: f64,
}

impl Tie {
    /// The factors of `size` records at positions from `first` (counted from one).
    pub(super) fn at(shares: &[f64], first: usize, size: usize) -> Self {
        let last = first + size - 1;
        let harmonic: f64 = shares.iter().skip(first).take(size).sum();
        let share = |position: usize| shares.get(position).copied().unwrap_or_default();
        let count = size as f64;
        let lost = if size > 1 { (harmonic - count * share(last)) / (count * (count - 1.0)) } else { 0.0 };
        Self { own: harmonic / count, lost, pushed_out: (share(first - 1) - share(last)) / count }
    }

    /// The value of a record of weight `own` in a group that weighs `all`; `farther` is T.
    pub(super) fn value(&self, own: f64, all: f64, farther: f64) -> f64 {
        own * self.own - (all - own) * self.lost - farther
    }
}
