//! Who follows the stream of changes: a process of its own (`follower.rs`), so that it can be killed as one.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A running one.
pub struct Consumer(Child);

impl Consumer {
    /// Starts a follower that goes on after what is in `file`.
    pub fn start(address: SocketAddr, token: &str, file: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_follower"))
            .arg(address.to_string())
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The pipe closes at the end of the statement: all of the token is there.
        child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        Self(child)
    }

    /// Kills it, wherever it is.
    pub fn kill9(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits for its end: the service that it follows is gone.
    pub fn ended(mut self) {
        self.0.wait().unwrap();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // Both fail only if it has ended and was waited for.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
