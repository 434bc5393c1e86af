//! CPU time by who used it, as Linux counts it.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// CPU time since each began.
#[derive(Clone, Copy, Default)]
pub struct Used {
    /// Of the threads of the service, those of an embedded database among them.
    pub service: Duration,
    /// Of the processes of PostgreSQL on this machine.
    pub database: Duration,
}

impl Used {
    /// Until now.
    pub fn now() -> Self {
        let mut used = Self::default();
        for thread in fs::read_dir("/proc/self/task").unwrap().flatten() {
            if let Some((name, time)) = read(&thread.path())
                && (name.starts_with("service") || name.starts_with("sqlx-sqlite"))
            {
                used.service += time;
            }
        }
        for process in fs::read_dir("/proc").unwrap().flatten() {
            let is_process = process.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit());
            if is_process
                && let Some((name, time)) = read(&process.path())
                && name == "postgres"
            {
                used.database += time;
            }
        }
        used
    }

    /// What was used after `earlier`, for each of `operations`.
    pub fn each(self, earlier: Self, operations: usize) -> Self {
        let count = u32::try_from(operations.max(1)).unwrap();
        Self {
            service: self.service.saturating_sub(earlier.service) / count,
            database: self.database.saturating_sub(earlier.database) / count,
        }
    }
}

/// The name, and the time in user and kernel mode, of a process or thread that is still there.
fn read(path: &Path) -> Option<(String, Duration)> {
    let stat = fs::read_to_string(path.join("stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    // Linux counts in hundredths of a second wherever it runs today.
    Some((name.to_owned(), Duration::from_millis(ticks * 10)))
}

/// The resident memory of a process, bytes.
pub fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1_024
}
