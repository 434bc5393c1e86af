//! The engine against the definition (all subsets, all tie orders), the textbook recursion, independent goldens and
//! the axioms.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use super::*;

/// SplitMix64: small, seeded, the same everywhere.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// A number in [-1, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

/// Plain records: what the engine gets, before it is packed.
#[derive(Clone)]
struct Game {
    task: Task,
    k: usize,
    width: usize,
    training: Vec<(Vec<f32>, f32)>,
    validation: Vec<(Vec<f32>, f32)>,
}

impl Game {
    /// `grid`: features are small integers, so distances tie.
    fn random(
        rng: &mut Generator,
        task: Task,
        records: usize,
        validation: usize,
        grid: Option<usize>,
    ) -> Self {
        let width = 1 + rng.below(3);
        let classes = 2 + rng.below(2);
        let mut record = || {
            let feature = |_| match grid {
                Some(steps) => rng.below(steps) as f32,
                None => rng.unit(),
            };
            let features = (0..width).map(feature).collect();
            let label = match task {
                Task::Classification => rng.below(classes) as f32,
                Task::Regression => rng.unit(),
            };
            (features, label)
        };
        let training = (0..records).map(|_| record()).collect();
        let validation = (0..validation).map(|_| record()).collect();
        Self { task, k: 1, width, training, validation }
    }

    fn with_k(self, k: usize) -> Self {
        Self { k, ..self }
    }

    fn sets(&self) -> (TrainingSet, ValidationSet) {
        let pack = |records: &[(Vec<f32>, f32)]| -> (Vec<f32>, Vec<f32>) {
            let features = records.iter().flat_map(|(features, _)| features.clone()).collect();
            (features, records.iter().map(|&(_, label)| label).collect())
        };
        let width = NonZeroUsize::new(self.width).unwrap();
        let (features, labels) = pack(&self.training);
        let training = TrainingSet::new(self.task, width, features, &labels).unwrap();
        let (features, labels) = pack(&self.validation);
        (training, ValidationSet::new(self.task, width, features, &labels).unwrap())
    }

    fn value(&self) -> Values {
        let (training, validation) = self.sets();
        method(self.k).value(&training, &validation, &mut carry_on).unwrap()
    }

    fn distances(&self, query: &[f32]) -> Vec<f64> {
        let square = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
        self.training.iter().map(|(features, _)| features.iter().zip(query).map(square).sum()).collect()
    }

    /// The utility of the neighbours `near` (at most K), straight from the definition.
    fn utility(&self, near: &[usize], label: f32) -> f64 {
        let k = self.k as f64;
        match self.task {
            Task::Classification => {
                near.iter().filter(|&&record| self.training[record].1 == label).count() as f64 / k
            }
            Task::Regression => {
                let sum: f64 = near.iter().map(|&record| f64::from(self.training[record].1)).sum();
                -(sum / k - f64::from(label)).powi(2)
            }
        }
    }

    /// U(S) for every subset S as a bit mask: the mean over all orders of ties.
    fn utilities(&self, query: &[f32], label: f32) -> Vec<f64> {
        let distances = self.distances(query);
        let orders = tie_orders(&distances);
        (0..1_usize << self.training.len())
            .map(|subset| {
                let total: f64 = orders
                    .iter()
                    .map(|order| {
                        let near: Vec<usize> =
                            order.iter().copied().filter(|&j| subset >> j & 1 == 1).take(self.k).collect();
                        self.utility(&near, label)
                    })
                    .sum();
                total / orders.len() as f64
            })
            .collect()
    }

    /// The Shapley values by their definition.
    fn brute_force(&self) -> Vec<f64> {
        let n = self.training.len();
        let factorial = |n: usize| (1..=n).map(|i| i as f64).product::<f64>();
        let mut values = vec![0.0; n];
        for (query, label) in &self.validation {
            let utilities = self.utilities(query, *label);
            for (i, value) in values.iter_mut().enumerate() {
                for subset in (0..1_usize << n).filter(|subset| subset >> i & 1 == 0) {
                    let size = subset.count_ones() as usize;
                    let weight = factorial(size) * factorial(n - size - 1) / factorial(n);
                    *value += weight * (utilities[subset | 1 << i] - utilities[subset]);
                }
            }
        }
        values.iter().map(|value| value / self.validation.len() as f64).collect()
    }
}

/// Every order of the records that is ascending in distance.
fn tie_orders(distances: &[f64]) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for _ in distances {
        orders = orders
            .into_iter()
            .flat_map(|order: Vec<usize>| {
                let left = (0..distances.len()).filter(|record| !order.contains(record));
                let least = left.clone().map(|record| distances[record]).fold(f64::INFINITY, f64::min);
                left.filter(|&record| distances[record] == least)
                    .map(|record| order.iter().copied().chain([record]).collect())
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    orders
}

fn method(k: usize) -> KnnShapley {
    KnnShapley::new(NonZeroUsize::new(k).unwrap())
}

fn carry_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, context: &str) {
    assert_eq!(found.len(), expected.len(), "{context}");
    for (record, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "{context}, record {record}: {found} != {expected}");
    }
}

const TASKS: [Task; 2] = [Task::Classification, Task::Regression];

#[test]
fn equals_brute_force_over_all_subsets_and_tie_orders() {
    let mut rng = Generator(1);
    for task in TASKS {
        for round in 0..120 {
            // Seven or eight records on a wide grid only: all tied, they would have 40,320 orders.
            let steps = 1 + round % 4;
            let records = 1 + rng.below(if steps < 4 { 6 } else { 8 });
            let game = Game::random(&mut rng, task, records, 1 + round % 2, Some(steps));
            for k in [1, 2, 3, 1 + rng.below(9)] {
                let game = game.clone().with_k(k);
                let context = format!("{task:?}, round {round}, n {records}, k {k}");
                assert_close(game.value().values(), &game.brute_force(), 1e-12, &context);
            }
        }
    }
}

#[test]
fn equals_brute_force_without_ties_up_to_ten_records() {
    let mut rng = Generator(2);
    for task in TASKS {
        for records in 1..=10 {
            for k in [1, 2, 5, 9, 10, 11, 40, usize::MAX] {
                let game = Game::random(&mut rng, task, records, 2, None).with_k(k);
                let context = format!("{task:?}, n {records}, k {k}");
                assert_close(game.value().values(), &game.brute_force(), 1e-12, &context);
            }
        }
    }
}

#[test]
fn equals_the_textbook_recursion_on_many_records() {
    let mut rng = Generator(3);
    for k in [1, 5, 499, 500, 501] {
        let game = Game::random(&mut rng, Task::Classification, 500, 1, None).with_k(k);
        let (query, label) = &game.validation[0];
        let distances = game.distances(query);
        let mut order: Vec<usize> = (0..500).collect();
        order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
        assert!(
            order.windows(2).all(|pair| distances[pair[0]] < distances[pair[1]]),
            "the game must be tie-free"
        );
        let matches = |record: usize| f64::from(u8::from(game.training[record].1 == *label));
        let mut expected = vec![0.0; 500];
        expected[order[499]] = matches(order[499]) / k.max(500) as f64;
        for i in (1..500).rev() {
            let (near, far) = (order[i - 1], order[i]);
            expected[near] =
                expected[far] + (matches(near) - matches(far)) / k as f64 * k.min(i) as f64 / i as f64;
        }
        assert_close(game.value().values(), &expected, 1e-12, &format!("k {k}"));
    }
}

/// One dataset of `tests/data` and its golden values for K = 5.
fn golden(csv: &str, values: &str, width: usize) -> (Game, Vec<f64>) {
    let mut game =
        Game { task: Task::Classification, k: 5, width, training: Vec::new(), validation: Vec::new() };
    let mut ids = Vec::new();
    for line in csv.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let features = fields[3..].iter().map(|field| field.parse().unwrap()).collect();
        let record = (features, fields[2].parse().unwrap());
        if fields[1] == "TRAIN" {
            ids.push(fields[0]);
            game.training.push(record);
        } else {
            game.validation.push(record);
        }
    }
    let (golden_ids, expected): (Vec<&str>, Vec<f64>) = values
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap())
        .map(|(id, value)| (id, value.parse::<f64>().unwrap()))
        .unzip();
    assert_eq!(golden_ids, ids);
    (game, expected)
}

fn digits() -> (Game, Vec<f64>) {
    golden(
        include_str!("../../tests/data/digits.csv"),
        include_str!("../../tests/data/digits.knn_shapley.k5.csv"),
        64,
    )
}

fn breast_cancer() -> (Game, Vec<f64>) {
    golden(
        include_str!("../../tests/data/breast_cancer.csv"),
        include_str!("../../tests/data/breast_cancer.knn_shapley.k5.csv"),
        30,
    )
}

#[test]
fn equals_the_digits_golden() {
    let (game, expected) = digits();
    assert_eq!((game.training.len(), game.validation.len()), (1297, 500));
    let found = game.value();
    assert_close(found.values(), &expected, 1e-12, "digits");
    assert!((found.values().iter().sum::<f64>() - found.gain()).abs() < 1e-9);
}

#[test]
fn equals_the_breast_cancer_golden() {
    let (game, expected) = breast_cancer();
    assert_eq!((game.training.len(), game.validation.len()), (400, 169));
    assert_close(game.value().values(), &expected, 1e-12, "breast cancer");
}

#[test]
fn the_block_size_does_not_change_a_bit() {
    let (game, _) = breast_cancer();
    let (training, validation) = game.sets();
    let expected = game.value();
    for block in [1, 3, 8, 13, 169, usize::MAX] {
        let mut seen = Vec::new();
        let found = method(5)
            .with_block(NonZeroUsize::new(block).unwrap())
            .value(&training, &validation, &mut |progress| {
                seen.push(progress.done);
                assert_eq!(progress.total, 169);
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(bits(found.values()), bits(expected.values()), "block {block}");
        assert_eq!(bits(found.standard_errors().unwrap()), bits(expected.standard_errors().unwrap()));
        assert_eq!(seen.len(), 169_usize.div_ceil(block), "block {block}");
        assert_eq!(seen.last(), Some(&169));
    }
}

#[test]
fn the_values_share_the_gain() {
    let mut rng = Generator(4);
    for task in TASKS {
        for k in [1, 4, 60, 200] {
            let game = Game::random(&mut rng, task, 60, 9, Some(4)).with_k(k);
            let all: Vec<usize> = (0..60).collect();
            let found = game.value();
            let sum: f64 = found.values().iter().sum();
            assert!((sum - found.gain()).abs() < 1e-12, "{task:?}, k {k}");
            if k >= 60 {
                // Everyone is near, so U(all) needs no order.
                let gain =
                    |&(_, label): &(Vec<f32>, f32)| game.utility(&all, label) - game.utility(&[], label);
                let gain = game.validation.iter().map(gain).sum::<f64>() / 9.0;
                assert!((found.gain() - gain).abs() < 1e-12, "{task:?}, k {k}");
            }
        }
    }
}

#[test]
fn equal_records_have_equal_values() {
    let mut rng = Generator(5);
    for task in TASKS {
        for round in 0..20 {
            let mut game = Game::random(&mut rng, task, 40, 11, Some(3)).with_k(1 + round % 7);
            game.training.extend_from_within(..);
            rng.shuffle(&mut game.training);
            let found = game.value();
            for (i, record) in game.training.iter().enumerate() {
                let twin = game.training.iter().rposition(|other| other == record).unwrap();
                assert_eq!(found.values()[i].to_bits(), found.values()[twin].to_bits(), "{task:?}, {round}");
            }
        }
    }
}

#[test]
fn the_order_of_the_records_does_not_matter() {
    let mut rng = Generator(6);
    for task in TASKS {
        let game = Game::random(&mut rng, task, 70, 30, Some(4)).with_k(5);
        let values = game.value();
        let mut places: Vec<usize> = (0..70).collect();
        rng.shuffle(&mut places);
        let mut shuffled = game.clone();
        shuffled.training = places.iter().map(|&place| game.training[place].clone()).collect();
        rng.shuffle(&mut shuffled.validation);
        let expected: Vec<f64> = places.iter().map(|&place| values.values()[place]).collect();
        assert_close(shuffled.value().values(), &expected, 1e-12, &format!("{task:?}"));
    }
}

#[test]
fn a_class_nobody_has_gives_everybody_nothing() {
    let mut rng = Generator(7);
    let mut game = Game::random(&mut rng, Task::Classification, 30, 4, Some(3)).with_k(3);
    for (_, label) in &mut game.validation {
        *label = 9.0;
    }
    assert!(game.value().values().iter().all(|&value| value == 0.0));
    assert_eq!(game.value().gain(), 0.0);
}

#[test]
fn a_clashing_record_beyond_the_last_match_is_worth_nothing() {
    let game = Game {
        task: Task::Classification,
        k: 1,
        width: 1,
        training: vec![(vec![1.0], 1.0), (vec![0.5], 0.0), (vec![2.0], 0.0)],
        validation: vec![(vec![0.0], 1.0)],
    };
    // Sorted: clash, match, clash. The match earns 1/2, which the nearer clash loses.
    assert_eq!(game.value().values(), [0.5, -0.5, 0.0]);
}

#[test]
fn differences_are_taken_in_float64() {
    let game = Game {
        task: Task::Classification,
        k: 1,
        width: 1,
        training: vec![(vec![16_777_216.0], 1.0), (vec![-16_777_216.0], 0.0)],
        validation: vec![(vec![0.25], 1.0)],
    };
    // In float32 the two would be equally far.
    assert_eq!(game.value().values(), [1.0, 0.0]);
}

#[test]
fn a_target_of_nothing_and_labels_of_nothing_share_nothing() {
    let mut rng = Generator(8);
    let mut game = Game::random(&mut rng, Task::Regression, 12, 3, Some(3)).with_k(2);
    for (_, label) in &mut game.training {
        *label = 0.0;
    }
    assert!(game.value().values().iter().all(|&value| value == 0.0));
}

#[test]
fn the_standard_error_is_that_of_the_mean_over_validation_records() {
    let mut rng = Generator(9);
    for task in TASKS {
        let game = Game::random(&mut rng, task, 20, 25, Some(5)).with_k(3);
        let rows: Vec<Values> = game
            .validation
            .iter()
            .map(|record| Game { validation: vec![record.clone()], ..game.clone() }.value())
            .collect();
        assert!(rows[0].standard_errors().is_none(), "one validation record tells nothing about the spread");
        let expected: Vec<f64> = (0..20)
            .map(|i| {
                let mean = rows.iter().map(|row| row.values()[i]).sum::<f64>() / 25.0;
                let squares: f64 = rows.iter().map(|row| (row.values()[i] - mean).powi(2)).sum();
                (squares / 24.0 / 25.0).sqrt()
            })
            .collect();
        assert_close(game.value().standard_errors().unwrap(), &expected, 1e-9, &format!("{task:?}"));
    }
}

#[test]
fn large_targets_keep_the_efficiency_check_meaningful() {
    let mut rng = Generator(10);
    let mut game = Game::random(&mut rng, Task::Regression, 300, 10, None).with_k(5);
    for (_, label) in game.training.iter_mut().chain(&mut game.validation) {
        *label = 1e6 + 1e5 * *label;
    }
    let found = game.value();
    assert!(found.values().iter().all(|value| value.is_finite()));
    assert!(found.gain() > 1e11);
}

#[test]
fn a_result_that_does_not_add_up_is_refused() {
    let mut totals = Totals::new(2);
    totals.add(&[0.25, 0.25], 0.5 + 1e-8);
    assert!(matches!(totals.finish(1e-9), Err(EngineError::Inefficient { .. })));
    let mut totals = Totals::new(1);
    totals.add(&[f64::NAN], 0.5);
    assert!(matches!(totals.finish(1e-9), Err(EngineError::Inefficient { .. })));
}

#[test]
fn break_cancels_after_the_block() {
    let (game, _) = breast_cancer();
    let (training, validation) = game.sets();
    let mut seen = Vec::new();
    let result = method(5).value(&training, &validation, &mut |progress| {
        seen.push(progress);
        if progress.done >= 16 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(result.unwrap_err(), EngineError::Cancelled);
    assert_eq!(seen, [Progress { done: 8, total: 169 }, Progress { done: 16, total: 169 }]);
}

fn training(task: Task, features: &[f32], labels: &[f32]) -> Result<TrainingSet, EngineError> {
    TrainingSet::new(task, NonZeroUsize::new(2).unwrap(), features.to_vec(), labels)
}

#[test]
fn bad_input_is_named() {
    let split = Split::Training;
    let check = |task, features: &[f32], labels: &[f32], expected| {
        assert_eq!(training(task, features, labels).unwrap_err(), expected);
    };
    for task in TASKS {
        check(task, &[], &[], EngineError::EmptySplit { split });
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let expected = EngineError::NonFiniteFeature { split, row: 1, column: 0 };
            check(task, &[0.0, 1.0, bad, 3.0], &[0.0, 1.0], expected);
            check(task, &[0.0, 1.0], &[bad], EngineError::NonFiniteLabel { split, row: 0 });
        }
        let expected = EngineError::FeatureCount { split, row: 1, expected: 2, found: 1 };
        check(task, &[0.0, 1.0, 2.0], &[0.0, 1.0], expected);
        check(task, &[0.0, 1.0], &[0.0, 1.0], EngineError::LabelCount { split, rows: 1, labels: 2 });
    }
    for bad in [0.5, -1.25, 16_777_218.0, 3e38] {
        let expected = EngineError::LabelNotClass { split, row: 2 };
        check(Task::Classification, &[0.0; 6], &[-1.0, 16_777_216.0, bad], expected);
        assert!(training(Task::Regression, &[0.0; 6], &[-1.0, 1.0, bad]).is_ok());
    }
}

#[test]
fn sets_that_do_not_fit_are_refused() {
    let width = |n| NonZeroUsize::new(n).unwrap();
    let known = training(Task::Classification, &[0.0; 4], &[0.0, 1.0]).unwrap();
    let asked = ValidationSet::new(Task::Classification, width(3), vec![0.0; 3], &[0.0]).unwrap();
    assert_eq!(
        method(1).value(&known, &asked, &mut carry_on).unwrap_err(),
        EngineError::FeatureCountsDiffer { training: 2, validation: 3 }
    );
    let asked = ValidationSet::new(Task::Regression, width(2), vec![0.0; 2], &[0.0]).unwrap();
    assert_eq!(method(1).value(&known, &asked, &mut carry_on).unwrap_err(), EngineError::TasksDiffer);
}

#[test]
fn neither_errors_nor_debug_show_the_data() {
    let error = training(Task::Classification, &[0.0, 1.0], &[1234.5]).unwrap_err();
    assert_eq!(error.to_string(), "training row 0: the label is not an integer class");
    let set = training(Task::Classification, &[4321.0, 1.0], &[77.0]).unwrap();
    assert_eq!(format!("{set:?}"), "TrainingSet(Samples { records: 1, feature_count: 2, .. })");
}
