//! The `[database]` section of a service's configuration.
//!
//! Invariant: the URL may hold a password, so no `Debug`, error or log shows any part of it.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

use crate::ConnectError;

/// Which database, and how many connections to it.
///
/// ```
/// let config: portal_store::DatabaseConfig = toml::from_str(r#"url = "sqlite:/var/lib/portal/consent.db""#)?;
/// assert!(!format!("{config:?}").contains("consent.db"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite:/path/to/file.db`, or `postgres://user@host/database` without a password.
    url: Option<String>,
    /// A file that holds the URL: the only place for one with a password.
    url_file: Option<PathBuf>,
    /// Connections to PostgreSQL at most. SQLite has one writer and at most four readers of these.
    #[serde(default = "default_max_connections")]
    max_connections: u32,
    /// Not for operators: the crate that keeps keys asks for it.
    #[serde(skip)]
    secure_delete: bool,
}

const fn default_max_connections() -> u32 {
    10
}

impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig")
            .field("url_file", &self.url_file)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

impl DatabaseConfig {
    /// The database at `url`, with the default number of connections.
    #[must_use]
    pub fn from_url(url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..Self::nowhere() }
    }

    /// The database whose URL stands in `file`, with the default number of connections.
    #[must_use]
    pub fn from_url_file(file: impl Into<PathBuf>) -> Self {
        Self { url_file: Some(file.into()), ..Self::nowhere() }
    }

    /// The same database, where SQLite overwrites what is deleted with zeros (`PRAGMA secure_delete`). What the WAL
    /// still holds goes with [`crate::Database::scrub`]. PostgreSQL has no such setting: see
    /// [`crate::Database::rewrite`].
    #[must_use]
    pub fn with_secure_delete(self) -> Self {
        Self { secure_delete: true, ..self }
    }

    const fn nowhere() -> Self {
        Self { url: None, url_file: None, max_connections: default_max_connections(), secure_delete: false }
    }

    /// The URL, from wherever it stands.
    pub(crate) fn resolve(&self) -> Result<String, ConnectError> {
        match (&self.url, &self.url_file) {
            (Some(url), None) if has_password(url) => Err(ConnectError::PasswordInUrl),
            (Some(url), None) => Ok(url.clone()),
            (None, Some(file)) => std::fs::read_to_string(file)
                .map(|url| url.trim().to_owned())
                .map_err(|source| ConnectError::UrlFile { path: file.clone(), source }),
            (None, None) | (Some(_), Some(_)) => Err(ConnectError::OneUrl),
        }
    }

    pub(crate) fn max_connections(&self) -> u32 {
        self.max_connections.max(1)
    }

    pub(crate) const fn secure_delete(&self) -> bool {
        self.secure_delete
    }
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or(""));
    let user_has_password = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    user_has_password || url.split_once('?').is_some_and(|(_, query)| query.contains("password="))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_password_is_taken_from_a_file_only() {
        for url in ["postgres://anna:secret@db/portal", "postgres://db/portal?password=secret"] {
            let error = DatabaseConfig::from_url(url).resolve().unwrap_err();
            assert!(matches!(error, ConnectError::PasswordInUrl));
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
        assert!(DatabaseConfig::from_url("postgres://anna@db:5432/portal?host=/run/pg").resolve().is_ok());

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "postgres://anna:secret@db/portal\n").unwrap();
        let text = format!("url_file = {:?}", file.path());
        let config: DatabaseConfig = toml::from_str(&text).unwrap();
        assert_eq!(config.resolve().unwrap(), "postgres://anna:secret@db/portal");
        assert_eq!(DatabaseConfig::from_url_file(file.path()).resolve().unwrap(), config.resolve().unwrap());
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn exactly_one_url() {
        let both: DatabaseConfig = toml::from_str("url = \"sqlite:x\"\nurl_file = \"y\"").unwrap();
        let none: DatabaseConfig = toml::from_str("").unwrap();
        for config in [both, none] {
            assert!(matches!(config.resolve(), Err(ConnectError::OneUrl)));
        }
        assert!(toml::from_str::<DatabaseConfig>("urls = \"sqlite:x\"").is_err());
    }
}
