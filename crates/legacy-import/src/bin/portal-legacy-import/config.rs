//! The configuration file: `[database]`, `[keys]`, `[legacy]`.
//!
//! Invariant: it holds no secret; it names the files that do.

use std::path::{Path, PathBuf};

use anyhow::Context;
use portal_core::Workload;
use portal_keys::KeysConfig;
use portal_legacy_import::{Reader, key_file};
use portal_store::DatabaseConfig;
use serde::Deserialize;

/// The arguments or the configuration are wrong: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", file.display())]
pub struct Unusable {
    file: PathBuf,
    problem: String,
}

/// What the file says.
pub struct Config {
    /// The import's own database.
    pub database: DatabaseConfig,
    /// Whose keys the records are sealed under: `keys.service`.
    pub service: Workload,
    /// Those keys, as in the configuration of the service.
    pub keys: KeysConfig,
    legacy: Legacy,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    database: DatabaseConfig,
    keys: toml::Table,
    legacy: Legacy,
}

/// The keys of the earlier system.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Legacy {
    /// Raw private keys of Kyber-768, mode 0600.
    kyber768_private_files: Vec<PathBuf>,
    /// Raw public keys of Dilithium3.
    dilithium3_public_files: Vec<PathBuf>,
}

impl Config {
    /// Reads `file`.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
        Ok(Self::parse(&text).map_err(|problem| Unusable { file: file.to_owned(), problem })?)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let File { database, mut keys, legacy } = toml::from_str(text).map_err(|error| at(text, &error))?;
        let service = keys.remove("service").ok_or("keys.service: missing")?;
        let service = service.as_str().and_then(|name| name.parse().ok());
        let service = service.ok_or("keys.service: must be auth, consent or valuation")?;
        let keys = keys.try_into().map_err(|error: toml::de::Error| format!("keys: {}", error.message()))?;
        if legacy.kyber768_private_files.is_empty() || legacy.dilithium3_public_files.is_empty() {
            return Err("legacy: each list of key files must name one at least".to_owned());
        }
        Ok(Self { database, service, keys, legacy })
    }

    /// The keys of the earlier system, if their files are there and nobody else can read the private ones.
    pub fn reader(&self) -> anyhow::Result<Reader> {
        let Legacy { kyber768_private_files, dilithium3_public_files } = &self.legacy;
        let open = kyber768_private_files.iter().map(|file| key_file::private(file));
        let open = open.collect::<Result<Vec<_>, _>>()?;
        let verify = dilithium3_public_files.iter().map(|file| key_file::public(file));
        let verify = verify.collect::<Result<Vec<_>, _>>()?;
        let names = self.keys.disabled_algorithms.iter().map(String::as_str);
        let suites = portal_crypto::suite::Suites::all_but_named(names)?;
        Ok(Reader::new(suites, open, verify)?)
    }
}

/// Where and what, without the line itself, which may have a password in it that should not be there.
fn at(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
    format!("line {line}: {}", error.message())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Every configuration that the documents show.
    #[test]
    fn the_documented_configurations_are_usable() {
        let runbook = include_str!("../../../../../docs/runbooks/legacy-import.md");
        let samples: Vec<&str> =
            runbook.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
        assert!(!samples.is_empty());
        for sample in samples {
            assert!(Config::parse(sample).is_ok(), "{:?}\n{sample}", Config::parse(sample).err());
        }
    }

    #[test]
    fn problems_are_told_by_their_keys() {
        let good = "[database]\nurl = 'sqlite:a'\n[keys]\nservice = 'consent'\nprovider = 'file'\n\
                    root_key_file = 'r'\ndatabase_url = 'sqlite:k'\n[legacy]\n\
                    kyber768_private_files = ['a']\ndilithium3_public_files = ['b']\n";
        assert_eq!(Config::parse(good).ok().unwrap().service, Workload::Consent);
        let check = |from: &str, to: &str, expected: &str| {
            assert!(good.contains(from));
            let problem = Config::parse(&good.replace(from, to)).err().unwrap();
            assert!(problem.contains(expected), "{problem}");
        };
        check("service = 'consent'\n", "", "keys.service: missing");
        check("'consent'", "'consents'", "keys.service: must be");
        check("root_key_file = 'r'\n", "", "keys: root_key_file: missing");
        check("['a']", "[]", "legacy: ");
        check("[legacy]", "[legacies]", "line 8: ");
        // A password that stands where it should not is not told.
        let broken = good.replace("'sqlite:a'", "'postgres://anna:secret@db/a");
        let problem = Config::parse(&broken).err().unwrap();
        assert!(problem.starts_with("line 2: ") && !problem.contains("secret"), "{problem}");
    }
}
