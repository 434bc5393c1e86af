//! A bar on standard error while something takes its time; nothing if nobody looks.

use std::io::{IsTerminal, Write};
use std::time::Duration;

const WIDTH: u64 = 24;

/// How far something is.
#[derive(Clone, Copy, Default)]
pub struct Step<'a> {
    /// What is done.
    pub what: &'a str,
    pub done: u64,
    pub total: u64,
    /// How many a second; 0 if that is not known yet.
    pub rate: f64,
    pub left: Option<Duration>,
}

/// The bar. It is taken away when it is dropped.
pub struct Bar {
    shown: bool,
    drawn: bool,
}

impl Bar {
    pub fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), drawn: false }
    }

    pub fn show(&mut self, step: Step<'_>) {
        if self.shown {
            self.drawn = true;
            draw(&format!("\r\x1b[K{}", line(step)));
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.drawn {
            draw("\r\x1b[K");
        }
    }
}

fn draw(text: &str) {
    let mut err = std::io::stderr().lock();
    if err.write_all(text.as_bytes()).and_then(|()| err.flush()).is_err() {
        tracing::debug!("standard error is closed");
    }
}

fn line(step: Step<'_>) -> String {
    let Step { what, done, total, rate, left } = step;
    let done = done.min(total);
    let filled = (done * WIDTH).checked_div(total).unwrap_or(WIDTH);
    let bar: String = (0..WIDTH).map(|cell| if cell < filled { '#' } else { '.' }).collect();
    let percent = (done * 100).checked_div(total).unwrap_or(100);
    let mut text = format!("{what}  [{bar}] {percent:>3} %  {done} of {total}");
    if rate > 0.0 {
        text += &format!("  {rate:.0}/s");
    }
    if let Some(left) = left {
        text += &format!("  {} left", duration(left));
    }
    text
}

/// A time as people say it: the two largest units.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3_600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is() {
        let check = |done, total, expect: &str| {
            let step = Step { what: "move", done, total, ..Step::default() };
            assert_eq!(line(step), expect);
        };
        check(0, 10, "move  [........................]   0 %  0 of 10");
        check(5, 10, "move  [############............]  50 %  5 of 10");
        check(11, 10, "move  [########################] 100 %  10 of 10");
        check(0, 0, "move  [########################] 100 %  0 of 0");
        let step =
            Step { what: "verify", done: 1, total: 4, rate: 1_000.4, left: Some(Duration::from_secs(61)) };
        assert_eq!(line(step), "verify  [######..................]  25 %  1 of 4  1000/s  1 min 1 s left");
    }

    #[test]
    fn a_time_has_two_units() {
        for (seconds, expect) in [(0, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3_661, "1 h 1 min")] {
            assert_eq!(duration(Duration::from_secs(seconds)), expect);
        }
    }
}
