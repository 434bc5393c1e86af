//! The binary on a data directory: started, killed, started again.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::Channel;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(40);

/// `portal up` in a process of its own. Dropping it kills the process and removes its data.
pub struct Portal {
    pub(crate) process: Process,
    /// Services in processes of their own, if [`Self::process`] is the gateway alone.
    pub(crate) services: Vec<Process>,
    pub(crate) directory: TempDir,
    pub(crate) address: SocketAddr,
    /// Time from the start of the process to its ready line.
    pub ready_after: Duration,
}

/// A child that does not outlive its handle.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended and was waited for.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Process {
    /// Asks the process to stop, as an orchestrator does; it must end well.
    async fn terminate(mut self, directory: &Path) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        let ended = tokio::task::spawn_blocking(move || self.0.wait());
        let ended = tokio::time::timeout(STOP_TIMEOUT, ended).await;
        let status: ExitStatus = ended.expect("portal did not stop in time").unwrap().unwrap();
        assert_eq!(status.code(), Some(0), "portal ended badly\n{}", log(directory));
    }
}

impl Portal {
    /// Starts one on a new data directory.
    pub async fn start() -> Self {
        Self::start_in(new_directory(), "warn").await
    }

    /// Starts one that logs everything that it can log.
    pub async fn start_tracing() -> Self {
        Self::start_in(new_directory(), "trace").await
    }

    async fn start_in(directory: TempDir, log_level: &str) -> Self {
        let started = Instant::now();
        let (process, mut lines) = spawn(directory.path(), &up(directory.path()), log_level);
        let ready = async {
            while let Some(line) = lines.recv().await {
                if let Some(url) = line.strip_prefix("portal ready on http://") {
                    return Some(url.parse().unwrap_or_else(|_| panic!("no address in '{line}'")));
                }
            }
            None
        };
        let ready = tokio::time::timeout(START_TIMEOUT, ready).await;
        let Some(address) = ready.ok().flatten() else {
            panic!("portal did not become ready in {START_TIMEOUT:?}\n{}", log(directory.path()));
        };
        Self { process, services: Vec::new(), directory, address, ready_after: started.elapsed() }
    }

    /// Where the edge listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What the process wrote to standard error, all its lives together.
    #[must_use]
    pub fn log(&self) -> String {
        log(self.directory.path())
    }

    /// Runs the binary with `arguments` on a data directory: its exit code, and all it printed.
    #[must_use]
    pub fn command(directory: &TempDir, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(binary());
        command.args(arguments).arg("--data-dir").arg(directory.path().join("data")).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), text.concat())
    }

    /// As [`Self::command`], beside this process.
    #[must_use]
    pub fn beside(&self, arguments: &[&str]) -> (Option<i32>, String) {
        Self::command(&self.directory, arguments)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.0.try_wait().unwrap().is_none()
    }

    /// A new connection without a token.
    pub async fn channel(&self) -> Channel {
        Channel::connect(self.address).await.unwrap()
    }

    /// Kills the process as a power cut would, and returns its data.
    #[must_use]
    pub fn kill9(self) -> TempDir {
        let Self { process, directory, .. } = self;
        drop(process);
        directory
    }

    /// Kills the process and starts another on the same data.
    pub async fn restart_after_kill9(self) -> Self {
        Self::start_in(self.kill9(), "warn").await
    }

    /// Starts a process on `directory` and kills it after `time`, wherever its start has come to.
    pub async fn kill_during_start(directory: &TempDir, time: Duration) {
        let (process, _lines) = spawn(directory.path(), &up(directory.path()), "warn");
        tokio::time::sleep(time).await;
        drop(process);
    }

    /// Starts one on data that another left.
    pub async fn restart(directory: TempDir) -> Self {
        Self::start_in(directory, "warn").await
    }

    /// Asks the process to stop, as an orchestrator does; it must end well.
    pub async fn terminate(self) -> TempDir {
        let Self { process, services, directory, .. } = self;
        // The edge first, so that calls under way still find what they need behind it.
        for process in std::iter::once(process).chain(services) {
            process.terminate(directory.path()).await;
        }
        directory
    }

    /// Sends an HTTP/1.1 request to the edge on a connection of its own.
    pub async fn http(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        self.try_http(request).await.unwrap()
    }

    /// Sends an HTTP/1.1 request to the edge on a connection of its own.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn try_http(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, hyper::Error> {
        http_at(self.address, request).await
    }

    /// The body that an address of the process other than the edge answers with, if it speaks HTTP/1.1 at all.
    pub async fn try_http_at(&self, address: SocketAddr, request: Request<Full<Bytes>>) -> Option<Vec<u8>> {
        let answer = tokio::time::timeout(Duration::from_secs(5), http_at(address, request)).await;
        answer.ok()?.ok().map(|answer| answer.into_body().to_vec())
    }

    /// Calls the JSON edge. An empty answer is `null`.
    pub async fn json(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        if !body.is_null() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let answer = self.http(request.body(Full::new(bytes)).unwrap()).await;
        let json = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        (answer.status(), json)
    }

    /// Every address that the process listens on: the edge, the services' ports, the admin port.
    #[must_use]
    pub fn listeners(&self) -> Vec<SocketAddr> {
        std::iter::once(&self.process).chain(&self.services).flat_map(Process::listeners).collect()
    }
}

impl Process {
    fn listeners(&self) -> Vec<SocketAddr> {
        let process = PathBuf::from(format!("/proc/{}", self.0.id()));
        let sockets: Vec<String> = fs::read_dir(process.join("fd"))
            .unwrap()
            .filter_map(|file| fs::read_link(file.ok()?.path()).ok())
            .filter_map(|link| {
                Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned())
            })
            .collect();
        let table = fs::read_to_string(process.join("net/tcp")).unwrap();
        let listening = table.lines().skip(1).filter_map(|line| {
            let columns: Vec<_> = line.split_ascii_whitespace().collect();
            let ours = sockets.iter().any(|inode| inode == columns[9]);
            (ours && columns[3] == "0A").then(|| columns[1])
        });
        listening
            .map(|address| {
                let (ip, port) = address.split_once(':').unwrap();
                let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).unwrap().swap_bytes());
                SocketAddr::from((ip, u16::from_str_radix(port, 16).unwrap()))
            })
            .collect()
    }
}

async fn http_at(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, hyper::Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    portal_mesh::task::spawn("test-connection", async move { drop(connection.await) });
    request.headers_mut().insert(header::HOST, address.to_string().parse().unwrap());
    let (parts, body) = sender.send_request(request).await?.into_parts();
    Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
}

pub(crate) fn new_directory() -> TempDir {
    tempfile::Builder::new().prefix("portal-test-").tempdir().unwrap()
}

/// The arguments of `portal up` on the data directory in `directory`.
fn up(directory: &Path) -> Vec<String> {
    let data = directory.join("data").display().to_string();
    let arguments = ["up", "--data-dir", &data, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    arguments.map(str::to_owned).into()
}

/// Runs the binary; what it writes to standard error goes to a file in `directory`.
pub(crate) fn spawn(
    directory: &Path,
    arguments: &[String],
    log_level: &str,
) -> (Process, UnboundedReceiver<String>) {
    let log = File::options().create(true).append(true).open(directory.join("stderr.log")).unwrap();
    let mut child = Command::new(binary())
        .args(arguments)
        .env("PORTAL__TELEMETRY__LOG", log_level)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = unbounded_channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            // Nobody listens any more after the ready line, but the pipe must not fill up.
            drop(sender.send(line));
        }
    });
    (Process(child), lines)
}

/// The binary beside this test: `target/<profile>/portal`, where the test is `target/<profile>/deps/<name>`.
fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    // Of a test in the folder above, of a program in the same.
    let mut programs = own.ancestors().skip(1).take(2).map(|folder| folder.join("portal"));
    programs.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("there is no portal near {}; build it first: `cargo build -p portal`", own.display())
    })
}

pub(crate) fn log(directory: &Path) -> String {
    let mut text = fs::read_to_string(directory.join("stderr.log")).unwrap_or_default();
    if text.is_empty() {
        write!(text, "(nothing on standard error)").unwrap();
    }
    text
}
