//! What people read: results on standard output, problems on standard error. A closed pipe is not an error of ours.

use std::io::Write;

/// One line on standard output, flushed: whoever waits for it may be reading from a pipe.
pub fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        tracing::debug!("standard output is closed");
    }
}

/// A problem on standard error.
pub fn error(text: &str) {
    if writeln!(std::io::stderr().lock(), "portal: {text}").is_err() {
        tracing::debug!("standard error is closed");
    }
}

/// Rows whose columns are as wide as their widest cell; the first one is the head.
pub fn table<const N: usize>(rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        line(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
