//! `portal import consents` through a gateway that is killed meanwhile: each record is in once, and what is wrong is told
//! with its line.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use portal_core::id::{Id, SubjectId};
use portal_core::{SeededEntropy, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Up, portal, run};

const PASSWORD: &str = "correct horse battery staple";

/// A running portal with a controller, and what people can be asked.
struct World {
    up: Option<Up>,
    data: PathBuf,
    token: PathBuf,
    purpose: String,
    notice: String,
}

impl World {
    fn start(directory: &Path) -> Self {
        let data = directory.join("data");
        let up = Up::start(&data);
        let password = fs::read_to_string(data.join("operator-password")).unwrap();
        let operator = up.sign_in("operator@portal.local", password.trim()).unwrap();
        let account = json!({"email": "c@example.org", "password": PASSWORD, "displayName": "C"});
        let account = text(&up.post("/v1/accounts", &operator, &account), "accountId");
        up.post(
            &format!("/v1/accounts/{account}:setRoles"),
            &operator,
            &json!({"roles": ["subject", "controller"]}),
        );
        let controller = up.sign_in("c@example.org", PASSWORD).unwrap();
        let purpose = json!({"purpose": {
            "displayName": "Newsletter", "description": "Once a month", "dpvPurposes": ["dpv:DirectMarketing"],
            "legalBasis": "LEGAL_BASIS_CONSENT", "personalData": ["pd:EmailAddress"], "recipients": ["Mailer"],
            "validity": "31536000s", "jurisdiction": "DE",
        }});
        let purpose = text(&up.post("/v1/purposes", &controller, &purpose), "purposeId");
        up.post(&format!("/v1/purposes/{purpose}:publish"), &controller, &json!({}));
        let notice =
            json!({"notice": {"title": "Notice", "purposeIds": [purpose], "bodies": {"en": "We write."}}});
        let notice = text(&up.post("/v1/notices", &controller, &notice), "noticeId");
        up.post(&format!("/v1/notices/{notice}:publish"), &controller, &json!({}));
        let token = directory.join("token");
        fs::write(&token, format!("{controller}\n")).unwrap();
        Self { up: Some(up), data, token, purpose, notice }
    }

    fn address(&self) -> SocketAddr {
        self.up.as_ref().unwrap().address
    }

    fn import(&self, file: &Path) -> std::process::Command {
        let mut command = portal();
        command
            .args(["import", "consents"])
            .arg(file)
            .args(["--gateway", &format!("http://{}", self.address())]);
        command.arg("--token-file").arg(&self.token);
        command
    }

    /// The consents of a person, as the controller sees them.
    fn status(&self, subject: &str) -> Value {
        let token = fs::read_to_string(&self.token).unwrap();
        let up = self.up.as_ref().unwrap();
        let answer = up.read(&format!("/v1/subjects/{subject}/consents"), token.trim());
        answer["consents"][0]["status"].clone()
    }

    /// Kills it, and starts it again at the same address.
    fn kill(&mut self) {
        let address = self.address();
        assert_eq!(self.up.take().unwrap().end(Signal::KILL).0, None);
        let listen = address.to_string();
        self.up = Some(Up::launch(&mut portal(), &self.data, &["--listen", &listen]));
    }

    /// Stops it, and starts it again at another address with other options.
    fn restart(&mut self, options: &[&str]) {
        assert_eq!(self.up.take().unwrap().end(Signal::TERM).0, Some(0));
        self.up = Some(Up::launch(&mut portal(), &self.data, options));
    }
}

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field} in {answer}")).to_owned()
}

fn people(count: usize) -> Vec<String> {
    let entropy = SeededEntropy::new(1);
    (0..count)
        .map(|_| SubjectId::generate(Timestamp::from_seconds(1_795_305_600), &entropy).to_string())
        .collect()
}

#[test]
fn csv_and_jsonl_with_lines_that_are_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::start(directory.path());
    let (purpose, notice, people) = (&world.purpose, &world.notice, people(3));
    let csv = format!(
        "subject_id,purpose_id,notice_id,language,status,method,event_time,valid_for,reason\n\
         {a},{purpose},{notice},en,GIVEN,BUTTON,2020-01-01T10:00:00Z,864000000s,\n\
         {a},{purpose},{notice},en,GIVEN,BUTTON,2020-10-01T10:00:00Z,2592000s,\n\
         {b},{purpose},{notice},en,refused,BUTTON,,,\n\
         nobody,{purpose},{notice},en,GIVEN,BUTTON,,,\n\
         \n\
         {c},{purpose},{notice},en,GIVEN\n\
         {a},{purpose},,,WITHDRAWN,,2020-10-02T10:00:00Z,,\"too many,\nreally\"\n\
         {a},{purpose},,,WITHDRAWN,,,,\n\
         {c},{purpose},{notice},en,GIVEN,BUTTON,,,\n",
        a = people[0],
        b = people[1],
        c = people[2],
    );
    let file = directory.path().join("consents.csv");
    fs::write(&file, csv).unwrap();
    for _ in 0..2 {
        let (code, stdout, stderr) = run(&mut world.import(&file));
        assert_eq!(code, 1, "{stdout}{stderr}");
        let told: Vec<_> = stdout.lines().filter(|line| line.starts_with("line ")).collect();
        let begins = [
            "line 2: INVALID_FIELD: ",
            "line 5: INVALID_FIELD: ",
            "line 7: UNREADABLE: ",
            "line 10: CONSENT_NOT_IN_FORCE: ",
        ];
        assert!(
            told.len() == 4 && told.iter().zip(begins).all(|(line, begin)| line.starts_with(begin)),
            "{stdout}"
        );
        assert!(stdout.ends_with("4 recorded, 4 refused\n"), "{stdout}");
    }
    assert_eq!(
        people.iter().map(|subject| world.status(subject)).collect::<Vec<_>>(),
        ["CONSENT_STATUS_WITHDRAWN", "CONSENT_STATUS_REFUSED", "CONSENT_STATUS_GIVEN",]
    );

    let line = json!({"subject_id": people[0], "purpose_id": purpose, "notice_id": notice, "language": "en",
        "status": "GIVEN", "method": "BUTTON"});
    let file = directory.path().join("consents.jsonl");
    fs::write(&file, format!("{line}\n")).unwrap();
    let (code, stdout, stderr) = run(&mut world.import(&file));
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.ends_with("1 recorded, 0 refused\n"), "{stdout}");
    let head = directory.path().join("head.csv");
    fs::write(&head, "who,what\n").unwrap();
    assert_eq!(run(&mut world.import(&head)).0, 2);
    assert_eq!(run(world.import(&file).args(["--gateway", "https://example.org"])).0, 2);
    fs::write(&world.token, "not a token").unwrap();
    assert_eq!(run(&mut world.import(&file)).0, 1);
}

/// Everything is killed in the middle: the command goes on by itself, and each record is in once.
#[test]
fn a_kill_in_the_middle_loses_nothing_and_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::start(directory.path());
    let people = people(8_000);
    let mut csv = String::from("subject_id,purpose_id,notice_id,language,status,method\n");
    for subject in &people {
        writeln!(csv, "{subject},{},{},en,GIVEN,BUTTON", world.purpose, world.notice).unwrap();
    }
    let file = directory.path().join("consents.csv");
    fs::write(&file, csv).unwrap();
    let mut import = world.import(&file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Until some of it is in.
    while !world.status(&people[1_000]).is_string() {
        assert!(import.try_wait().unwrap().is_none(), "too fast to be cut");
    }
    world.kill();
    let output = import.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.ends_with("8000 recorded, 0 refused\n"), "{stdout}");
    assert_eq!(world.status(&people[7_999]), "CONSENT_STATUS_GIVEN");
    let token = fs::read_to_string(&world.token).unwrap();
    let up = world.up.as_ref().unwrap();
    for subject in people.iter().step_by(1_000) {
        let events = up.read(&format!("/v1/subjects/{subject}/consentEvents"), token.trim());
        assert_eq!(events["events"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn a_gateway_over_tls_is_believed_by_its_roots_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::start(directory.path());
    let (subject, purpose, notice) = (&people(1)[0], world.purpose.clone(), world.notice.clone());
    let file = directory.path().join("records.csv");
    let csv = format!(
        "subject_id,purpose_id,notice_id,language,status,method\n{subject},{purpose},{notice},en,GIVEN,BUTTON\n"
    );
    fs::write(&file, csv).unwrap();
    world.restart(&["--tls"]);
    let url = format!("https://localhost:{}", world.address().port());
    let import = |more: &[&str]| {
        let mut command = portal();
        command.args(["import", "consents"]).arg(&file).arg("--token-file").arg(&world.token);
        run(command.args(["--gateway", &url]).args(more))
    };
    let roots = world.data.join("tls/edge/ca.crt").display().to_string();
    let (code, _, stderr) = import(&[]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("--ca-file"), "{stderr}");
    // Another authority, of the same name and kind.
    let other = directory.path().join("other");
    let made = run(portal().args(["certs", "issue-edge", "--name", "localhost", "--ca"]).arg(&other));
    assert_eq!(made.0, 0, "{}", made.2);
    let stranger = other.join("edge/ca.crt").display().to_string();
    let (code, _, stderr) = import(&["--ca-file", &stranger]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("no TLS with the gateway"), "{stderr}");
    let (code, stdout, stderr) = import(&["--ca-file", &roots]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    world.restart(&[]);
    assert_eq!(world.status(subject), "CONSENT_STATUS_GIVEN");
}
