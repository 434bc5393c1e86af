//! Runs the binary: to its end, or `portal up` until it is stopped.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub fn portal() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portal"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs it to its end: exit code, standard output, standard error.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().expect("ended by a signal"), text(stdout), text(stderr))
}

/// `portal up`, ready.
pub struct Up {
    pub child: Child,
    /// What it printed up to the ready line and after it.
    pub lines: Vec<String>,
    stdout: BufReader<ChildStdout>,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

impl Drop for Up {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Up {
    pub fn start(data: &Path) -> Self {
        Self::start_with(&mut portal(), data)
    }

    pub fn start_with(command: &mut Command, data: &Path) -> Self {
        Self::launch(command, data, &[])
    }

    pub fn launch(command: &mut Command, data: &Path, more: &[&str]) -> Self {
        let started = Instant::now();
        let listen: &[&str] = if more.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
        let mut child = command
            .arg("up")
            .arg("--data-dir")
            .arg(data)
            .args(listen)
            .args(["--admin-listen", "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        let mut address = None;
        let mut admin = None;
        // The line with the last thing to try ends the welcome.
        while !lines.last().is_some_and(|line: &String| line.contains("$ACCESS_TOKEN")) {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "ended before it was ready: {lines:?}");
            let line = line.trim_end().to_owned();
            if let Some(url) = line.strip_prefix("portal ready on ") {
                println!("ready after {:?}", started.elapsed());
                address = Some(url.split_once("://").unwrap().1.parse().unwrap());
            }
            if let Some((_, rest)) = line.split_once("metrics   http://") {
                admin = Some(rest.strip_suffix("/metrics").unwrap().parse().unwrap());
            }
            lines.push(line);
        }
        Self { child, lines, stdout, address: address.unwrap(), admin: admin.unwrap() }
    }

    /// Sends a signal; how it ended, and what it printed from then on.
    pub fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }

    /// Whether the first operator signs in with `password`.
    pub fn signs_in(&self, password: &str) -> bool {
        self.sign_in("operator@portal.local", password).is_some()
    }

    /// The access token that `email` gets for `password`.
    pub fn sign_in(&self, email: &str, password: &str) -> Option<String> {
        Some(self.session(email, password)?["accessToken"].as_str()?.to_owned())
    }

    /// The session that `email` gets for `password`.
    pub fn session(&self, email: &str, password: &str) -> Option<serde_json::Value> {
        let body = format!(r#"{{"email":"{email}","password":"{password}"}}"#);
        let answer = http(
            self.address,
            &format!(
                "POST /v1/sessions HTTP/1.1\r\nhost: portal\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            ),
        );
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let mut body: serde_json::Value = serde_json::from_str(body).ok()?;
        head.starts_with("HTTP/1.1 200 ").then(|| body["session"].take())
    }

    /// The answer to a POST with a token.
    pub fn post(&self, path: &str, token: &str, body: &serde_json::Value) -> serde_json::Value {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: portal\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let answer = http(self.address, &request);
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// The answer to a GET with a token.
    pub fn read(&self, path: &str, token: &str) -> serde_json::Value {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: portal\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        let answer = http(self.address, &request);
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

pub fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

pub fn get(address: SocketAddr, path: &str) -> String {
    http(address, &format!("GET {path} HTTP/1.1\r\nhost: portal\r\nconnection: close\r\n\r\n"))
}
