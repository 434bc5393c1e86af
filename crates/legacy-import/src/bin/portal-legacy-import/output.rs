//! What people read: results on standard output; problems, advice and progress on standard error.
//!
//! Invariant: what is told are ids, names, numbers and causes, never a value or a key. A closed pipe is not an error of
//! ours.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use portal_legacy_import::importer;
use portal_upkeep::migration::{Migration, Step};
use tracing::level_filters::LevelFilter;

/// Columns of the bar.
const WIDTH: u64 = 30;

/// One line on standard output, flushed: whoever waits for it may be reading from a pipe.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        tracing::debug!("standard output is closed");
    }
}

/// What to do next, on standard error.
pub fn next(text: &str) {
    told(&format!("next: {text}\n"));
}

/// A problem, on standard error.
pub fn error(text: &str) {
    told(&format!("portal-legacy-import: {text}\n"));
}

fn told(text: &str) {
    let mut out = std::io::stderr().lock();
    if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err() {
        tracing::debug!("standard error is closed");
    }
}

/// Shows warnings of the engines on standard error: why work waits, and which row stopped it.
pub fn log() {
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(LevelFilter::WARN)
        .without_time()
        .with_target(false)
        .with_writer(std::io::stderr)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        tracing::debug!("logging was already started");
    }
}

/// How far an operation is: a bar on a terminal, a line for each step elsewhere.
pub struct Progress {
    terminal: bool,
    step: Option<Step>,
}

impl Progress {
    /// On standard error.
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), step: None }
    }

    /// Shows `migration`.
    pub fn show(&mut self, migration: &Migration) {
        let Some(step) = migration.record.state.active() else { return self.end() };
        if self.terminal {
            told(&format!("\r{}\x1b[K", bar(step, migration)));
        } else if self.step != Some(step) && migration.progress.counted {
            told(&format!("{}: {} records\n", doing(step), migration.progress.step_total));
        }
        if migration.progress.counted {
            self.step = Some(step);
        }
    }

    /// Leaves the line of the bar.
    pub fn end(&mut self) {
        if self.terminal && self.step.take().is_some() {
            told("\n");
        }
    }
}

/// What a step does, to people.
const fn doing(step: Step) -> &'static str {
    match step {
        Step::Commit => "committing",
        Step::Move => "importing",
        Step::Undo => "rolling back",
        Step::Verify => "verifying",
    }
}

fn bar(step: Step, migration: &Migration) -> String {
    let progress = &migration.progress;
    let (done, total) = (progress.step_done.min(progress.step_total), progress.step_total);
    let filled = (done * WIDTH).checked_div(total).unwrap_or(0);
    let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '.' }).collect();
    let left = migration.time_left().map(|left| format!(", {} left", seconds(left))).unwrap_or_default();
    format!("{:12} [{bar}] {done}/{total}, {:.0}/s{left}", doing(step), progress.rows_per_second)
}

/// A time in whole seconds, minutes and hours.
pub fn seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// The command that goes on with `step`.
pub fn command(step: Step) -> String {
    format!("portal-legacy-import {}", importer::name(step))
}

#[cfg(test)]
mod tests {
    use portal_core::Timestamp;
    use portal_upkeep::migration::{Progress as Far, Record};

    use super::*;

    #[test]
    fn the_bar_fills() {
        let show = |done: u64, total: u64, rate: f64| {
            let now = Timestamp::from_seconds(1);
            let record = Record::pending("x", now).start(now).unwrap();
            let far = Far { step_done: done, step_total: total, rows_per_second: rate, ..Far::default() };
            bar(Step::Move, &Migration { description: "", record, progress: far })
        };
        assert_eq!(show(0, 0, 0.0), "importing    [..............................] 0/0, 0/s");
        assert_eq!(
            show(500, 2_000, 25.0),
            "importing    [#######.......................] 500/2000, 25/s, 1 min 0 s left"
        );
        assert!(
            show(2_100, 2_000, 1.0).starts_with("importing    [##############################] 2000/2000")
        );
        assert_eq!(seconds(Duration::from_secs(7_384)), "2 h 3 min");
    }
}
