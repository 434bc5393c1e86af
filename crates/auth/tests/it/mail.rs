//! Mail: written with what it is about, sent afterwards, not lost and not told.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use portal_auth::{Config, MailConfig, TransportConfig};
use portal_proto::auth::v1 as pb;
use portal_testkit::{TestDatabase, TestMesh, each_database};
use tonic::{Code, Status};

use crate::fixture::{Auth, PASSWORD, config, new_account, refused};
use crate::{logs, sql};

/// Where links lead.
pub const PORTAL: &str = "https://portal.test";

/// A mail that was sent.
pub struct Sent {
    pub to: String,
    pub subject: String,
    pub text: String,
}

impl Sent {
    pub fn read(text: String) -> Self {
        let header = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
        };
        Self { to: header("To"), subject: header("Subject"), text }
    }

    /// The token in it: the link leads to `page`, and the code beside it is the same.
    pub fn token(&self, page: &str) -> String {
        let link = format!("{PORTAL}/#{page}=");
        let token = self.text.lines().find_map(|line| line.strip_prefix(&link));
        let token = token.unwrap_or_else(|| panic!("no link to {page} in {}", self.text)).to_owned();
        assert!(self.text.lines().any(|line| line == token));
        token
    }
}

pub fn mail_config(transport: TransportConfig) -> MailConfig {
    MailConfig { sender: "Portal <portal@portal.test>".to_owned(), public_url: PORTAL.to_owned(), transport }
}

impl Auth {
    /// One that writes mail to files.
    pub async fn with_mail(database: &TestDatabase) -> Self {
        let mesh = TestMesh::start().await;
        let config = mailing(&mesh, database).await;
        Self::with(mesh, config).await
    }

    fn mail_directory(&self) -> PathBuf {
        self.mesh.path("mail")
    }

    fn mail_files(&self) -> Vec<PathBuf> {
        let Ok(files) = fs::read_dir(self.mail_directory()) else { return Vec::new() };
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "eml"));
        files.sort();
        files
    }

    /// The mails that were sent, oldest first, when there are as many as that; no more of them come at once.
    pub async fn mails(&self, count: usize) -> Vec<Sent> {
        let sent = async {
            while self.mail_files().len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), sent).await;
        let files = self.mail_files();
        assert!(waited.is_ok(), "{} mails of {count}", files.len());
        assert_eq!(files.len(), count);
        files.iter().map(|file| Sent::read(fs::read_to_string(file).unwrap().replace("\r\n", "\n"))).collect()
    }

    /// Takes the mails away that were sent.
    pub async fn no_more_mails(&self, count: usize) {
        self.mails(count).await;
        for file in self.mail_files() {
            fs::remove_file(file).unwrap();
        }
    }

    /// Waits until there is nothing left to be sent.
    pub async fn emptied(&self, store: &portal_store::Database) {
        let emptied = async {
            while sql::one::<i64>(store, "SELECT COUNT(*) FROM mail").await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), emptied).await.unwrap();
    }

    pub async fn verify(&self, token: &str) -> Result<pb::VerifyEmailResponse, Status> {
        let request = pb::VerifyEmailRequest { verification_token: token.to_owned(), ..Default::default() };
        Ok(self.accounts().verify_email(request).await?.into_inner())
    }
}

async fn mailing(mesh: &TestMesh, database: &TestDatabase) -> Config {
    let transport = TransportConfig::Directory { directory: mesh.path("mail") };
    Config { mail: Some(mail_config(transport)), ..config(mesh, database).await }
}

each_database! {
    /// Who signs up gets a mail that only they read, and it is in the outbox no longer.
    async fn a_mail_is_a_file(database) {
        let auth = Auth::with_mail(database).await;
        auth.sign_up("anna@example.org").await;
        let mails = auth.mails(1).await;
        assert_eq!((mails[0].to.as_str(), mails[0].subject.as_str()), ("anna@example.org", "Confirm your e-mail address"));
        assert!(mails[0].text.contains("From: Portal <portal@portal.test>\n"));
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(auth.mail_files().remove(0)), 0o600);
        assert_eq!(mode(auth.mail_directory()), 0o700);
        let store = database.connect().await;
        let gone = async {
            while sql::one::<i64>(&store, "SELECT COUNT(*) FROM mail").await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    }

    /// A mail that can't be sent keeps nobody waiting, outlives the service, and is sent when it can be, once. Neither address
    /// nor token is in the database in the clear, or in the log.
    async fn no_mail_is_lost(database) {
        logs::capture();
        let auth = Auth::with_mail(database).await;
        // Where the directory should be is something else.
        fs::write(auth.mail_directory(), "").unwrap();
        auth.sign_up("mail-anna@example.org").await;
        let store = database.connect().await;
        let failed = async {
            while sql::one::<i64>(&store, "SELECT MAX(failures) FROM mail").await == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), failed).await.unwrap();
        let stored = [sql::everything(&store, "mail").await, sql::everything(&store, "mail_token").await].concat();
        assert!(!sql::contains(&stored, "mail-anna"));
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM mail").await, 1);

        let (mesh, config) = auth.stop().await;
        fs::remove_file(mesh.path("mail")).unwrap();
        let auth = Auth::with(mesh, config).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(auth.mail_files().is_empty(), "it is not tried again at once");
        auth.advance(6);
        let mails = auth.mails(1).await;
        assert_eq!(mails[0].to, "mail-anna@example.org");
        let token = mails[0].token("verify-email");
        auth.advance(3_600);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(auth.mail_files().len(), 1, "sent once");
        auth.verify(&token).await.unwrap();
        let log = logs::captured();
        assert!(log.contains("a mail was not sent; it is tried again"), "the log was captured:\n{log}");
        assert!(!log.contains("mail-anna") && !log.contains(&token));
    }

    /// What was committed with an account is sent by whichever process comes next, though the one that committed it never got
    /// to it: its lease runs out.
    async fn another_process_sends_what_one_left(database) {
        let auth = Auth::start(database).await;
        let store = database.connect().await;
        let (mesh, mut config) = auth.stop().await;
        config.mail = Some(mail_config(TransportConfig::Directory { directory: mesh.path("mail") }));
        let clock = portal_core::Clock::now(&*mesh.clock).as_micros();
        // As a process leaves it that is killed while it sends.
        let lease = "INSERT INTO lease (name, holder, term, expires_at) VALUES ('auth-post', $1, 1, $2)";
        let killed = uuid::Uuid::from_u128(1);
        sql::run(&store, lease, [killed.into(), (clock + 30_000_000).into()]).await;
        let auth = Auth::with(mesh, config).await;
        auth.sign_up("anna@example.org").await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(auth.mail_files().is_empty(), "somebody else is at it");
        auth.advance(31);
        auth.mails(1).await;
    }

    /// What somebody changed in the outbox is not sent, and what is of no more use is not either.
    async fn what_is_not_sent(database) {
        let auth = Auth::with_mail(database).await;
        fs::write(auth.mail_directory(), "").unwrap();
        auth.sign_up("anna@example.org").await;
        auth.sign_up("bert@example.org").await;
        let store = database.connect().await;
        let failed = async {
            while sql::one::<i64>(&store, "SELECT COUNT(*) FROM mail WHERE failures > 0").await < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), failed).await.unwrap();
        let other = "UPDATE mail SET expires_at = expires_at + 1 WHERE id = (SELECT MIN(id::text)::uuid FROM mail)";
        let other = if database.file().is_some() { other.replace("MIN(id::text)::uuid", "MIN(id)") } else { other.to_owned() };
        assert_eq!(sql::run(&store, &other, []).await, 1);
        fs::remove_file(auth.mail_directory()).unwrap();
        auth.advance(24 * 3_600 + 1);
        let gone = async {
            while sql::one::<i64>(&store, "SELECT COUNT(*) FROM mail").await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
        assert!(auth.mail_files().is_empty());
    }

    /// A mail whose person's key is lost keeps no other from being sent, once.
    async fn a_mail_that_cannot_be_opened(database) {
        let auth = Auth::with_mail(database).await;
        fs::write(auth.mail_directory(), "").unwrap();
        let anna = auth.sign_up("anna@example.org").await;
        auth.advance(1);
        auth.sign_up("bert@example.org").await;
        let store = database.connect().await;
        let failed = async {
            while sql::one::<i64>(&store, "SELECT COUNT(*) FROM mail WHERE failures > 0").await < 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), failed).await.unwrap();
        let (mesh, config) = auth.stop().await;
        let entropy = std::sync::Arc::new(portal_core::SystemEntropy);
        let keys = portal_store::Database::connect(&config.keys.database, entropy, Default::default()).await.unwrap();
        let lost = format!("DELETE FROM subject_key WHERE subject_id = {}", sql::id(&keys, &anna.subject_id));
        assert_eq!(sql::run(&keys, &lost, []).await, 1);
        fs::remove_file(mesh.path("mail")).unwrap();
        mesh.clock.advance(Duration::from_secs(11));
        let auth = Auth::with(mesh, config).await;
        assert_eq!(auth.mails(1).await[0].to, "bert@example.org");
        let (left, of_anna) = ("SELECT COUNT(*) FROM mail", sql::id(&store, &anna.account_id));
        let noted = async {
            while sql::one::<i64>(&store, left).await > 1 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), noted).await.unwrap();
        let of_anna = format!("{left} WHERE account_id = {of_anna} AND failures > 1");
        assert_eq!(sql::one::<i64>(&store, &of_anna).await, 1, "it is tried again later");
    }

    /// Keys that can't be destroyed yet keep no mail waiting.
    async fn a_deletion_that_is_not_finished(database) {
        let auth = Auth::with_mail(database).await;
        let (bert, berts) = auth.person("bert@example.org").await;
        auth.no_more_mails(1).await;
        let store = database.connect().await;
        auth.emptied(&store).await;
        let entropy = std::sync::Arc::new(portal_core::SystemEntropy);
        let keys = portal_store::Database::connect(&auth.config.keys.database, entropy, Default::default()).await.unwrap();
        sql::refuse_inserts(&keys, "shred").await;
        let delete = pb::DeleteAccountRequest { account_id: bert.account_id.clone(), ..Default::default() };
        auth.accounts().delete_account(auth.by(&berts, delete).await).await.unwrap();
        auth.sign_up("anna@example.org").await;
        auth.start_recovery("anna@example.org").await.unwrap();
        auth.mails(2).await;
        let waiting = "SELECT COUNT(*) FROM account_tombstone WHERE erased_at IS NULL";
        assert_eq!(sql::one::<i64>(&store, waiting).await, 1);
    }

    /// An installation without mail does everything that takes none, and says so of the rest.
    async fn without_mail(database) {
        let auth = Auth::start(database).await;
        let (anna, session) = auth.person("anna@example.org").await;
        let store = database.connect().await;
        assert_eq!(sql::one::<i64>(&store, "SELECT COUNT(*) FROM mail").await, 0);
        for email in ["anna@example.org", "nobody@example.org"] {
            let request = pb::StartRecoveryRequest { email: email.to_owned(), ..Default::default() };
            let reply = auth.accounts().start_recovery(request).await;
            refused(reply, Code::FailedPrecondition, "MAIL_OFF");
        }
        let mut account = pb::Account { display_name: "Anne".to_owned(), ..anna };
        let renamed = pb::UpdateAccountRequest { account: Some(account.clone()), ..Default::default() };
        let renamed = auth.accounts().update_account(auth.by(&session, renamed).await).await.unwrap().into_inner();
        assert_eq!(renamed.display_name, "Anne");
        account.etag = renamed.etag;
        account.email = "anne@example.org".to_owned();
        let moved = pb::UpdateAccountRequest { account: Some(account), ..Default::default() };
        let moved = auth.accounts().update_account(auth.by(&session, moved).await).await;
        refused(moved, Code::FailedPrecondition, "MAIL_OFF");
        // Nor is the one of now confirmed.
        refused(auth.readdress_at_once(&session, "anna@example.org").await, Code::FailedPrecondition, "MAIL_OFF");
        assert!(auth.accounts().create_account(new_account("bert@example.org", PASSWORD)).await.is_ok());
    }
}
