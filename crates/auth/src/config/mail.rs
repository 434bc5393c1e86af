//! The `[mail]` section. Once it is parsed, exactly one transport is named and has all that it needs, and nothing of another's.

use std::path::PathBuf;

use serde::Deserialize;

/// `[mail]`: how mail leaves. Without it none does, and nobody recovers an account or changes an e-mail address.
///
/// ```
/// let config: portal_auth::MailConfig = toml::from_str(
///     r#"
///     sender = "Portal <portal@example.org>"
///     public_url = "https://portal.example.org"
///     transport = "smtp"
///     host = "smtp.example.org"
///     user = "portal"
///     password_file = "/etc/portal/smtp-password"
///     "#,
/// )?;
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Section")]
pub struct MailConfig {
    /// Who writes, as in `Portal <portal@example.org>`: `sender`.
    pub sender: String,
    /// Where the console is, for links: `public_url`, without a `/` at its end.
    pub public_url: String,
    /// How it leaves: `transport` and the keys of that one.
    pub transport: TransportConfig,
}

/// How mail leaves.
#[derive(Clone, Debug)]
pub enum TransportConfig {
    /// `transport = "directory"`: each mail is a file with the ending `.eml`, which only its owner reads.
    Directory {
        /// Where; made if it is missing: `directory`.
        directory: PathBuf,
    },
    /// `transport = "smtp"`: to a server by RFC 5321, over TLS and not without.
    Smtp(SmtpConfig),
}

/// A server that takes mail.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Its name, which its certificate must have: `host`.
    pub host: String,
    /// Its port: `port`. 587, or 465 if TLS is implicit.
    pub port: u16,
    /// When TLS begins: `tls`.
    pub tls: SmtpTls,
    /// As whom to sign in: `user`; nobody if it is not set.
    pub user: Option<String>,
    /// The file with the password of `user`; a line break at its end is not part of it: `password_file`.
    pub password_file: Option<PathBuf>,
    /// PEM file of the only roots that the server's certificate is checked against: `ca_file`. Those of the system if it is
    /// not set.
    pub ca_file: Option<PathBuf>,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// With the connection (RFC 8314).
    Implicit,
    /// By STARTTLS, before anything else is said; a server without it gets no mail.
    #[default]
    StartTls,
}

/// The section as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    transport: Name,
    sender: String,
    public_url: String,
    directory: Option<PathBuf>,
    host: Option<String>,
    port: Option<u16>,
    tls: Option<SmtpTls>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Name {
    Directory,
    Smtp,
}

/// What is wrong with the section: every problem, each with the key it is about.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.0.join("; "))]
pub struct InvalidMailConfig(Vec<String>);

impl TryFrom<Section> for MailConfig {
    type Error = InvalidMailConfig;

    fn try_from(section: Section) -> Result<Self, InvalidMailConfig> {
        let mut problems = section.foreign_keys();
        let url = section.public_url.trim_end_matches('/').to_owned();
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if host.is_none_or(str::is_empty) || url.chars().any(|c| c.is_whitespace() || "#?\"<>".contains(c)) {
            problems.push("public_url: must be such as https://portal.example.org".to_owned());
        }
        let sender = section.sender.clone();
        match section.transport(&mut problems) {
            Some(transport) if problems.is_empty() => Ok(Self { sender, public_url: url, transport }),
            _ => Err(InvalidMailConfig(problems)),
        }
    }
}

impl Section {
    /// A problem for each key that belongs to another transport.
    fn foreign_keys(&self) -> Vec<String> {
        let smtp = [
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("tls", self.tls.is_some()),
            ("user", self.user.is_some()),
            ("password_file", self.password_file.is_some()),
            ("ca_file", self.ca_file.is_some()),
        ];
        let directory = [("directory", self.directory.is_some())];
        let (foreign, name) = match self.transport {
            Name::Directory => (smtp.as_slice(), "smtp"),
            Name::Smtp => (directory.as_slice(), "directory"),
        };
        let given = foreign.iter().filter(|(_, given)| *given);
        given.map(|(key, _)| format!("{key}: is of transport = \"{name}\"")).collect()
    }

    fn transport(self, problems: &mut Vec<String>) -> Option<TransportConfig> {
        let missing = |key: &str| format!("{key}: missing");
        match self.transport {
            Name::Directory => {
                let directory = self.directory;
                problems.extend(directory.is_none().then(|| missing("directory")));
                Some(TransportConfig::Directory { directory: directory? })
            }
            Name::Smtp => {
                problems.extend(self.host.is_none().then(|| missing("host")));
                if self.user.is_some() != self.password_file.is_some() {
                    problems.push("user, password_file: both or neither".to_owned());
                }
                let tls = self.tls.unwrap_or_default();
                let port = self.port.unwrap_or(match tls {
                    SmtpTls::Implicit => 465,
                    SmtpTls::StartTls => 587,
                });
                let (user, password_file, ca_file) = (self.user, self.password_file, self.ca_file);
                Some(TransportConfig::Smtp(SmtpConfig {
                    host: self.host?,
                    port,
                    tls,
                    user,
                    password_file,
                    ca_file,
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const COMMON: &str = "sender = \"portal@example.org\"\npublic_url = \"https://portal.example.org/\"\n";

    fn parse(lines: &str) -> Result<MailConfig, String> {
        toml::from_str(&format!("{COMMON}{lines}"))
            .map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn a_server_needs_a_name_and_has_a_port_that_goes_with_tls() {
        let smtp = |lines: &str| match parse(&format!("transport = \"smtp\"\n{lines}")) {
            Ok(MailConfig { transport: TransportConfig::Smtp(smtp), public_url, .. }) => {
                assert_eq!(public_url, "https://portal.example.org");
                Ok((smtp.port, smtp.tls))
            }
            Ok(_) => Err("not a server".to_owned()),
            Err(error) => Err(error),
        };
        assert_eq!(smtp("host = \"h\""), Ok((587, SmtpTls::StartTls)));
        assert_eq!(smtp("host = \"h\"\ntls = \"implicit\""), Ok((465, SmtpTls::Implicit)));
        assert_eq!(smtp("host = \"h\"\ntls = \"implicit\"\nport = 25"), Ok((25, SmtpTls::Implicit)));
        assert_eq!(smtp("").unwrap_err(), "host: missing");
        assert_eq!(smtp("host = \"h\"\nuser = \"u\"").unwrap_err(), "user, password_file: both or neither");
        assert!(smtp("host = \"h\"\ntls = \"none\"").is_err(), "nothing goes in the clear");
        assert!(smtp("host = \"h\"\npassword = \"p\"").is_err());
        let both = smtp("host = \"h\"\ndirectory = \"d\"");
        assert_eq!(both.unwrap_err(), "directory: is of transport = \"directory\"");
    }

    #[test]
    fn a_directory_has_nothing_of_a_server() {
        assert!(parse("transport = \"directory\"\ndirectory = \"mail\"").is_ok());
        assert_eq!(parse("transport = \"directory\"").unwrap_err(), "directory: missing");
        let both = parse("transport = \"directory\"\ndirectory = \"mail\"\nhost = \"h\"");
        assert_eq!(both.unwrap_err(), "host: is of transport = \"smtp\"");
    }

    /// What the runbook shows can be copied.
    #[test]
    fn the_runbook_shows_what_is_taken() {
        let runbook = include_str!("../../../../docs/runbooks/accounts.md");
        let samples: String =
            runbook.split("```toml\n").skip(1).filter_map(|it| it.split("```").next()).collect();
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Shown {
            mail: MailConfig,
            passkeys: crate::config::PasskeyConfig,
            totp: crate::config::TotpConfig,
            tokens: crate::config::TokenConfig,
        }
        let shown: Shown = toml::from_str(&samples).unwrap();
        assert!(matches!(shown.mail.transport, TransportConfig::Smtp(smtp) if smtp.ca_file.is_some()));
        assert_eq!((shown.passkeys.rp_name.as_str(), shown.passkeys.any_port), ("Portal", false));
        assert_eq!(shown.totp.issuer, crate::config::TotpConfig::default().issuer);
        assert_eq!(shown.tokens.rotation_days, crate::config::TokenConfig::default().rotation_days);
    }

    #[test]
    fn links_lead_to_a_page() {
        for url in
            ["portal.example.org", "https://", "ftp://portal.example.org", "https://a b", "https://a/#x"]
        {
            let text = format!(
                "sender = \"p@example.org\"\npublic_url = \"{url}\"\ntransport = \"directory\"\ndirectory = \"d\""
            );
            assert!(toml::from_str::<MailConfig>(&text).is_err(), "{url}");
        }
    }
}
