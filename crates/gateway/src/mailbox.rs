//! The mailbox of a portal on one machine: what auth wrote as files instead of sending it, as a page.
//!
//! Whoever reads it can sign in as anybody, so it is for whoever started the portal: its path ends in a key that stands in a file
//! of theirs. The gateway starts with one only on loopback, answers only connections from there, and only under its own name, so
//! that no page from elsewhere gets at it by a name that leads here.

use std::fmt::Write;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::{HeaderValue, Request, Response, StatusCode, header};
use portal_crypto::hash::{Sha256, sha256};
use tonic::body::Body;

use crate::config::MailboxConfig;
use crate::oauth::PublicUrl;
use crate::oauth::page::{escaped, message, page};
use crate::route::Gateway;

/// What stands before the key in its path.
pub(crate) const PATH: &str = "/mailbox/";
/// Fewest characters of a key.
const SHORTEST_KEY: usize = 32;
/// Mails on the page; the newest.
const MOST: usize = 50;
/// Bytes read of each.
const LARGEST: u64 = 64 * 1_024;

/// Where mails are, and who may read them.
pub(crate) struct Mailbox {
    directory: PathBuf,
    key: Sha256,
}

/// The file has no key that could keep anybody out.
#[derive(Debug, thiserror::Error)]
pub enum UnusableKey {
    /// It can't be read.
    #[error("it can't be read")]
    Unreadable(#[source] std::io::Error),
    /// It is too short.
    #[error("it must have at least 32 characters")]
    Short,
}

impl Mailbox {
    /// The mailbox that is configured.
    ///
    /// # Errors
    /// [`UnusableKey`].
    pub(crate) fn open(config: MailboxConfig) -> Result<Self, UnusableKey> {
        let key = std::fs::read_to_string(&config.key_file).map_err(UnusableKey::Unreadable)?;
        let key = key.trim();
        if key.len() < SHORTEST_KEY {
            return Err(UnusableKey::Short);
        }
        Ok(Self { directory: config.directory, key: sha256(key.as_bytes()) })
    }

    /// Whether a path ends in the key. Hashes are compared, so the time says nothing of it.
    fn is_opened_by(&self, path: &str) -> bool {
        path.strip_prefix(PATH).is_some_and(|key| sha256(key.as_bytes()) == self.key)
    }
}

struct Mail {
    subject: String,
    to: String,
    date: String,
    text: String,
}

impl Gateway {
    /// The page; `None` if this portal sends its mail.
    pub(crate) async fn mailbox<B: Sync>(
        &self,
        peer: IpAddr,
        request: &Request<B>,
    ) -> Option<Response<Body>> {
        let (mailbox, own) = (self.mailbox.as_ref()?, self.public_url.as_ref()?);
        let here = peer.to_canonical().is_loopback() && is_own(request, own);
        if !(here && mailbox.is_opened_by(request.uri().path())) {
            let text = "The mailbox is for a browser on the machine itself, at the address that the portal told when it started.";
            return Some(message(StatusCode::FORBIDDEN, "Not from here", text));
        }
        let directory = mailbox.directory.clone();
        let read = tokio::task::spawn_blocking(move || newest(&directory)).await;
        let mut response = match read {
            Ok(Ok(mails)) => page(StatusCode::OK, "Mailbox", &listed(&mails, own), None),
            Ok(Err(_)) | Err(_) => {
                let text = "The folder of mails can't be read.";
                message(StatusCode::INTERNAL_SERVER_ERROR, "Not possible", text)
            }
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        Some(response)
    }
}

/// Whether a browser asks for this portal by its own name, and not for a page of somebody else.
fn is_own<B>(request: &Request<B>, own: &PublicUrl) -> bool {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(http::uri::Authority::as_str).or(host);
    let authority = own.as_str().split_once("://").map(|(_, authority)| authority);
    let asked_for =
        request.headers().get("sec-fetch-site").is_none_or(|site| site == "none" || site == "same-origin");
    host.is_some() && host == authority && asked_for
}

fn newest(directory: &Path) -> std::io::Result<Vec<Mail>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
    // Their names begin with the time.
    files.sort_unstable_by(|one, other| other.cmp(one));
    files.truncate(MOST);
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> std::io::Result<Mail> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(LARGEST).read_to_end(&mut bytes)?;
    let message = String::from_utf8_lossy(&bytes);
    let (head, text) = message.split_once("\r\n\r\n").unwrap_or((&message, ""));
    let field = |name: &str| {
        let named = |line: &str| {
            line.split_once(": ")
                .filter(|(found, _)| found.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.to_owned())
        };
        head.lines().find_map(named).unwrap_or_default()
    };
    Ok(Mail {
        subject: field("subject"),
        to: field("to"),
        date: field("date"),
        text: text.replace("\r\n", "\n"),
    })
}

fn listed(mails: &[Mail], own: &PublicUrl) -> String {
    let mut body = String::from("<p>What this portal would have sent. The newest is at the top.</p>");
    if mails.is_empty() {
        body.push_str("<p>There is no mail yet.</p>");
    }
    for mail in mails {
        // Writing to a String can't fail.
        let _ = write!(
            body,
            "<article><h2>{}</h2><p>to <strong>{}</strong>, {}</p><pre>{}</pre></article>",
            escaped(&mail.subject),
            escaped(&mail.to),
            escaped(&mail.date),
            linked(&mail.text, own)
        );
    }
    body
}

/// The text, with the links to this portal as links.
fn linked(text: &str, own: &PublicUrl) -> String {
    let begins = format!("{}/#", own.as_str());
    let line = |line: &str| match line.starts_with(&begins) {
        true => format!("<a href=\"{0}\">{0}</a>", escaped(line)),
        false => escaped(line),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_newest_is_first_and_nothing_in_it_is_markup() {
        let directory = tempfile::tempdir().unwrap();
        let own = PublicUrl::of(Some("http://127.0.0.1:8080"), "127.0.0.1:8080".parse().unwrap(), false);
        let own = own.unwrap().unwrap();
        assert!(newest(&directory.path().join("none")).unwrap().is_empty());
        for (name, subject) in [("01.eml", "First"), ("02.eml", "<b>Second</b>"), ("03.part", "Third")] {
            let text = format!(
                "From: Portal <portal@portal.local>\r\nTo: anna@example.org\r\nSubject: {subject}\r\n\r\n\
                 Go to\r\n\r\nhttp://127.0.0.1:8080/#recover=A\"B\r\n\r\nor http://evil.example/#recover\r\n"
            );
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let mails = newest(directory.path()).unwrap();
        let page = listed(&mails, &own);
        let places = ["&lt;b&gt;Second&lt;/b&gt;", "First"].map(|text| page.find(text).unwrap());
        assert!(places[0] < places[1] && !page.contains("Third") && !page.contains("<b>"));
        assert!(page.contains("<a href=\"http://127.0.0.1:8080/#recover=A&quot;B\">"));
        assert!(!page.contains("<a href=\"http://evil"));
        assert!(page.contains("anna@example.org"));
    }

    #[test]
    fn only_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let key_file = directory.path().join("key");
        let open = || Mailbox::open(MailboxConfig { directory: PathBuf::new(), key_file: key_file.clone() });
        assert!(matches!(open(), Err(UnusableKey::Unreadable(_))));
        for short in ["", "\n", &"a".repeat(31)] {
            std::fs::write(&key_file, short).unwrap();
            assert!(matches!(open(), Err(UnusableKey::Short)));
        }
        let key = "a".repeat(32);
        std::fs::write(&key_file, format!("{key}\n")).unwrap();
        let mailbox = open().unwrap();
        assert!(mailbox.is_opened_by(&format!("/mailbox/{key}")));
        for other in
            ["/mailbox/".to_owned(), format!("/mailbox/{key}b"), "/mailbox".to_owned(), format!("/{key}")]
        {
            assert!(!mailbox.is_opened_by(&other), "{other}");
        }
    }

    #[test]
    fn only_under_its_own_name() {
        let own = PublicUrl::of(None, "127.0.0.1:8080".parse().unwrap(), false).unwrap().unwrap();
        let check = |fields: &[(&'static str, &'static str)]| {
            let request = fields
                .iter()
                .fold(Request::get(PATH), |request, (name, value)| request.header(*name, *value));
            is_own(&request.body(()).unwrap(), &own)
        };
        assert!(check(&[("host", "127.0.0.1:8080")]));
        assert!(check(&[("host", "127.0.0.1:8080"), ("sec-fetch-site", "none")]));
        assert!(!check(&[("host", "rebound.example:8080")]));
        assert!(!check(&[("host", "127.0.0.1:8080"), ("sec-fetch-site", "cross-site")]));
        assert!(!check(&[]));
    }
}
