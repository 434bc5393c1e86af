//! Stands between a service and its PostgreSQL, and cuts them off from each other when told to.

use std::path::{Path, PathBuf};

use portal_store::DatabaseConfig;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What PostgreSQL calls its socket.
const SOCKET: &str = ".s.PGSQL.5432";

/// A way to one database of a PostgreSQL server that can be cut.
pub struct FaultProxy {
    url: String,
    cut: watch::Sender<bool>,
    accepting: JoinHandle<()>,
    _directory: TempDir,
}

impl FaultProxy {
    /// Before the server with its socket in `directory`, of which `url` names a database.
    pub(crate) fn start(directory: &Path, url: &str) -> Self {
        let own = TempDir::with_prefix("portal-proxy-").expect("a temporary directory");
        let listener = UnixListener::bind(own.path().join(SOCKET)).expect("a socket");
        let url = url.replace(&directory.display().to_string(), &own.path().display().to_string());
        let (cut, is_cut) = watch::channel(false);
        #[expect(clippy::disallowed_methods, reason = "aborted when the proxy is dropped")]
        let accepting = tokio::spawn(accept(listener, directory.join(SOCKET), is_cut));
        Self { url, cut, accepting, _directory: own }
    }

    /// How to connect through it.
    #[must_use]
    pub fn config(&self) -> DatabaseConfig {
        DatabaseConfig::from_url(&self.url)
    }

    /// Ends every connection and takes no new ones.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Takes connections again.
    pub fn heal(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, server: PathBuf, cut: watch::Receiver<bool>) {
    // Aborted with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.expect("a connection");
        if *cut.borrow() {
            continue;
        }
        let (server, mut cut) = (server.clone(), cut.clone());
        connections.spawn(async move {
            let Ok(mut server) = UnixStream::connect(server).await else { return };
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                _ = cut.wait_for(|cut| *cut) => {}
            }
        });
    }
}
