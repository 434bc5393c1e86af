//! The port by which mail leaves: a server that speaks SMTP, or a directory.
//!
//! Nothing of a mail is in an error or a log, and nothing of what a server answers but its code: it may repeat the address.

mod directory;
mod smtp;

use lettre::message::header::{ContentTransferEncoding, ContentType};
use lettre::message::{Body, Mailbox, Message};
use portal_core::Timestamp;
use portal_mesh::config::ConfigError;
use uuid::Uuid;

use crate::config::{MailConfig, TransportConfig};
use crate::store::outbox::OpenMail;

use directory::Directory;
use smtp::Smtp;

/// Longest line of a message.
const MAX_LINE: usize = 998;

/// Why a mail did not leave. It is tried again in any case: what looks final may be the server's configuration, or ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsent {
    /// No mail can have this address, or this content.
    #[error("it can't be written as a message")]
    Malformed,
    /// A file could not be written.
    #[error("it could not be written to the directory: {0}")]
    NotWritten(std::io::ErrorKind),
    /// The server said no, with this code (RFC 5321).
    #[error("the server refused it with {0}")]
    Refused(u16),
    /// The server was not reached, or its certificate is not what it must be.
    #[error("the server can't be spoken to: {0}")]
    Unreachable(&'static str),
}

/// By what mail leaves.
enum Transport {
    Directory(Directory),
    Smtp(Box<Smtp>),
}

/// Sends mail, and says what links in it begin with.
pub struct Mailer {
    sender: Mailbox,
    public_url: String,
    transport: Transport,
}

impl Mailer {
    /// As `config` says. Nobody is asked yet whether it can be done.
    ///
    /// # Errors
    /// [`ConfigError`] if the sender is no address, or a file can't be read.
    pub fn new(config: &MailConfig) -> Result<Self, ConfigError> {
        let invalid = |key, problem: &str| ConfigError::Invalid { key, problem: problem.to_owned() };
        let sender = config
            .sender
            .parse()
            .map_err(|_| invalid("mail.sender", "must be an address, as in Portal <portal@example.org>"))?;
        let transport = match &config.transport {
            TransportConfig::Directory { directory } => Transport::Directory(Directory::new(directory)),
            TransportConfig::Smtp(smtp) => Transport::Smtp(Box::new(Smtp::new(smtp)?)),
        };
        Ok(Self { sender, public_url: config.public_url.clone(), transport })
    }

    /// What links begin with.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Sends `mail`. Sent twice, both have the same Message-ID, or are one file.
    ///
    /// # Errors
    /// [`Unsent`].
    pub async fn send(&self, id: Uuid, mail: &OpenMail, now: Timestamp) -> Result<(), Unsent> {
        let message = self.message(id, mail, now).ok_or(Unsent::Malformed)?;
        match &self.transport {
            Transport::Directory(directory) => directory.send(id, message.formatted()).await,
            Transport::Smtp(smtp) => smtp.send(message).await,
        }
    }

    fn message(&self, id: Uuid, mail: &OpenMail, now: Timestamp) -> Option<Message> {
        let recipient = mail.recipient.expose().parse().ok()?;
        let micros = u64::try_from(now.as_micros()).ok()?;
        let date = std::time::UNIX_EPOCH + std::time::Duration::from_micros(micros);
        let domain = self.sender.email.domain();
        Message::builder()
            .from(self.sender.clone())
            .to(Mailbox::new(None, recipient))
            .subject(mail.subject.expose().as_str())
            .date(date)
            .message_id(Some(format!("<{id}@{domain}>")))
            // No out-of-office reply, please (RFC 3834).
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .header(ContentType::TEXT_PLAIN)
            .body(body(mail.body.expose()))
            .ok()
    }
}

/// The text as it is where a message may hold it (RFC 5322, section 2.1.1), so that a link is in one piece for whoever reads the
/// file; else encoded.
fn body(text: &str) -> Body {
    if text.is_ascii() && text.lines().all(|line| line.len() <= MAX_LINE && !line.contains('\r')) {
        let text = text.replace('\n', "\r\n").into_bytes();
        return Body::dangerous_pre_encoded(text, ContentTransferEncoding::SevenBit);
    }
    Body::new(text.to_owned())
}

fn header(name: &'static str, value: &str) -> lettre::message::header::HeaderValue {
    use lettre::message::header::{HeaderName, HeaderValue};
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use portal_core::Sensitive;

    use super::*;
    use crate::domain::Email;

    #[test]
    fn a_message_says_who_writes_when_and_which_one_it_is() {
        let transport = TransportConfig::Directory { directory: "mail".into() };
        let sender = "Portal <portal@example.org>".to_owned();
        let public_url = "https://portal.example.org".to_owned();
        let mailer = Mailer::new(&MailConfig { sender, public_url, transport }).unwrap();
        let mail = OpenMail {
            recipient: Email::parse("anna@example.net").unwrap(),
            subject: Sensitive::new("Hello".to_owned()),
            body: Sensitive::new(format!("a\n{}=\n", "b".repeat(200))),
        };
        let id = Uuid::from_u128(7);
        let message = mailer.message(id, &mail, Timestamp::from_seconds(86_400)).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        for line in [
            "From: Portal <portal@example.org>",
            "To: anna@example.net",
            "Subject: Hello",
            "Date: Fri, 02 Jan 1970 00:00:00 +0000",
            "Message-ID: <00000000-0000-0000-0000-000000000007@example.org>",
            "Auto-Submitted: auto-generated",
            "",
            "a",
            &format!("{}=", "b".repeat(200)),
        ] {
            assert!(text.split("\r\n").any(|found| found == line), "{line} in {text}");
        }
        assert!(!format!("{:?}", Unsent::Refused(550)).contains("anna"));
    }
}
