//! `portal up --demo`: a small organisation with notices, people, decisions and a valued dataset, made through the edge as
//! any client would make it, once per data directory.
//!
//! Everything is derived from one seed, request ids included, so that a load that was cut off is taken up where it ended.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use portal_core::entropy::random_bytes;
use portal_core::id::{Id, SubjectId};
use portal_core::{Entropy, SeededEntropy, SystemEntropy, Timestamp};
use serde_json::{Value, json};

use super::client::Client;
use crate::files::{self, Readers};

/// E-mail address of the demonstration's controller.
const CONTROLLER: &str = "controller@portal.local";
/// E-mail address of one of its people, who can sign in to the console.
const PERSON: &str = "anna@portal.local";
const PEOPLE: usize = 24;
const RECORDS_PER_PERSON: usize = 10;
const FEATURES: usize = 4;

/// Two purposes that people are asked about, and one that only the valuation needs.
const PURPOSES: [(&str, &str, &str, u64); 3] = [
    (
        "Order reminders",
        "We send you a message when a medicine you order regularly is about to run out.",
        "dpv:ServiceProvision",
        365,
    ),
    (
        "Newsletter",
        "We send you news about health in your neighbourhood once a month.",
        "dpv:DirectMarketing",
        730,
    ),
    (
        "Research on side effects",
        "We study, without your name, which side effects occur together.",
        "dpv:ResearchAndDevelopment",
        1_825,
    ),
];

/// Loads the demonstration unless `data_dir` has it already. Says how to sign in.
pub async fn load(client: Client, data_dir: &Path, operator_password: &str) -> anyhow::Result<String> {
    let passwords = data_dir.join("demo-passwords");
    let (password, hint) = match files::read(&passwords)? {
        Some(password) => (password.trim().to_owned(), None),
        None => {
            let bytes: [u8; 9] = random_bytes(&SystemEntropy);
            let password = bytes.iter().fold(String::from("demo-"), |mut text, byte| {
                // Writing to a String can't fail.
                let _ = write!(text, "{byte:02x}");
                text
            });
            files::write(&passwords, &password, Readers::Owner)?;
            (password, Some(()))
        }
    };
    let marker = data_dir.join("demo-loaded");
    if files::read(&marker)?.is_none() {
        Demo::start(client, password.clone(), operator_password).await?.load().await?;
        files::write(&marker, "", Readers::Everybody)?;
    }
    let shown = hint.map_or(String::new(), |()| format!("{password} "));
    Ok(format!("{PERSON} or {CONTROLLER}, password {shown}in {}", passwords.display()))
}

struct Demo {
    client: Client,
    controller: String,
    person: SubjectId,
    seed: SeededEntropy,
}

impl Demo {
    /// Makes the two accounts and signs the controller in.
    async fn start(client: Client, password: String, operator_password: &str) -> anyhow::Result<Self> {
        let seed = SeededEntropy::new(27_560);
        let operator = sign_in(&client, "operator@portal.local", operator_password.trim()).await?;
        let account = |email: &str, name: &str, seed: &SeededEntropy| json!({"email": email, "password": password, "displayName": name, "requestId": request_id(seed)});
        let controller =
            client.post("/v1/accounts", None, &account(CONTROLLER, "Linden Pharmacy", &seed)).await?;
        let person = client.post("/v1/accounts", None, &account(PERSON, "Anna Berg", &seed)).await?;
        let roles = json!({"roles": ["subject", "controller"], "requestId": request_id(&seed)});
        let path = format!("/v1/accounts/{}:setRoles", text(&controller, "accountId")?);
        client.post(&path, Some(&operator), &roles).await?;
        let person = SubjectId::parse(text(&person, "subjectId")?)?;
        let controller = sign_in(&client, CONTROLLER, &password).await?;
        Ok(Self { client, controller, person, seed })
    }

    async fn load(&self) -> anyhow::Result<()> {
        let mut purposes = Vec::new();
        for purpose in PURPOSES {
            purposes.push(self.publish_purpose(purpose).await?);
        }
        let notice = self.publish_notice(&purposes).await?;
        let people: Vec<SubjectId> = std::iter::once(self.person)
            .chain(
                (1..PEOPLE).map(|_| SubjectId::generate(Timestamp::from_seconds(1_795_305_600), &self.seed)),
            )
            .collect();
        for (index, person) in people.iter().enumerate() {
            self.decide(index, *person, &notice, &purposes).await?;
        }
        let research = purposes.last().context("the demonstration has purposes")?;
        self.value(&people, research).await
    }

    async fn post(&self, path: &str, mut body: Value) -> anyhow::Result<Value> {
        if let Value::Object(fields) = &mut body {
            fields.insert("requestId".to_owned(), Value::String(request_id(&self.seed)));
        }
        self.client.post(path, Some(&self.controller), &body).await
    }

    async fn publish_purpose(&self, purpose: (&str, &str, &str, u64)) -> anyhow::Result<String> {
        let (name, description, dpv, days) = purpose;
        let created = self
            .post(
                "/v1/purposes",
                json!({"purpose": {
                    "displayName": name, "description": description, "dpvPurposes": [dpv],
                    "legalBasis": "LEGAL_BASIS_CONSENT", "personalData": ["pd:EmailAddress", "pd:PurchaseHistory"],
                    "recipients": ["Linden Pharmacy"], "retention": format!("{}s", days * 86_400), "jurisdiction": "DE",
                }}),
            )
            .await?;
        let id = text(&created, "purposeId")?.to_owned();
        self.post(&format!("/v1/purposes/{id}:publish"), json!({})).await?;
        Ok(id)
    }

    async fn publish_notice(&self, purposes: &[String]) -> anyhow::Result<String> {
        let created = self
            .post(
                "/v1/notices",
                json!({"notice": {"title": "How Linden Pharmacy uses your data", "purposeIds": purposes, "bodies": {
                    "en": "# Your data\n\nYou decide, purpose by purpose, and may change your mind at any time.",
                    "de": "# Ihre Daten\n\nSie entscheiden über jeden Zweck einzeln und können es jederzeit ändern.",
                }}}),
            )
            .await?;
        let id = text(&created, "noticeId")?.to_owned();
        self.post(&format!("/v1/notices/{id}:publish"), json!({})).await?;
        Ok(id)
    }

    /// Everybody decides about each purpose, in a pattern that leaves some of everything; a few change their mind.
    async fn decide(
        &self,
        index: usize,
        person: SubjectId,
        notice: &str,
        purposes: &[String],
    ) -> anyhow::Result<()> {
        for (number, purpose) in purposes.iter().enumerate() {
            let consent = json!({
                "subjectId": person.to_string(), "purposeId": purpose, "noticeId": notice, "language": "en",
                "method": "INDICATION_METHOD_BUTTON",
            });
            match (index + number * 2) % 6 {
                // One who has not been asked yet: Anna, about the first purpose.
                0 if index == 0 => {}
                3 => drop(self.post("/v1/consents:refuse", consent).await?),
                5 => {
                    self.post("/v1/consents:give", consent).await?;
                    let withdrawal = json!({"subjectId": person.to_string(), "purposeId": purpose});
                    self.post("/v1/consents:withdraw", withdrawal).await?;
                }
                _ => drop(self.post("/v1/consents:give", consent).await?),
            }
        }
        Ok(())
    }

    async fn value(&self, people: &[SubjectId], purpose: &str) -> anyhow::Result<()> {
        let dataset = self
            .post(
                "/v1/datasets",
                json!({"dataset": {"displayName": "Side effects", "task": "TASK_CLASSIFICATION",
                    "featureCount": FEATURES, "purposeId": purpose}}),
            )
            .await?;
        let id = text(&dataset, "datasetId")?.to_owned();
        for (split, seed) in [("SPLIT_TRAIN", 1), ("SPLIT_VALIDATION", 2)] {
            let batch = batch(people, split, &SeededEntropy::new(seed));
            self.post(&format!("/v1/datasets/{id}:appendRecords"), json!({"datasetId": id, "batch": batch}))
                .await?;
        }
        let valuation = json!({"datasetId": id, "method": "METHOD_KNN_SHAPLEY", "parameters": {"k": 5}});
        self.post(&format!("/v1/datasets/{id}:value"), valuation).await?;
        Ok(())
    }
}

/// Records of two classes whose centres lie apart; every twelfth label is wrong, so that values differ.
fn batch(people: &[SubjectId], split: &str, seed: &SeededEntropy) -> Value {
    let (mut records, mut subjects, mut features, mut labels) = (vec![], vec![], vec![], vec![]);
    for (index, person) in people.iter().cycle().take(people.len() * RECORDS_PER_PERSON).enumerate() {
        let class = index % 2;
        records.push(format!("{split}-{index}"));
        subjects.push(person.to_string());
        for byte in random_bytes::<FEATURES>(seed) {
            features.push(f32::from(byte) / 128.0 - 1.0 + if class == 0 { -0.6 } else { 0.6 });
        }
        let wrong = index % 12 == 7;
        labels.push(if (class == 1) == wrong { 0.0_f32 } else { 1.0 });
    }
    json!({"recordIds": records, "subjectIds": subjects, "features": features, "labels": labels, "split": split})
}

async fn sign_in(client: &Client, email: &str, password: &str) -> anyhow::Result<String> {
    let session = client.post("/v1/sessions", None, &json!({"email": email, "password": password})).await?;
    Ok(text(session.get("session").unwrap_or(&Value::Null), "accessToken")?.to_owned())
}

fn text<'value>(value: &'value Value, field: &str) -> anyhow::Result<&'value str> {
    match value.get(field) {
        Some(Value::String(text)) => Ok(text),
        _ => bail!("the answer has no {field}"),
    }
}

fn request_id(seed: &dyn Entropy) -> String {
    SubjectId::generate(Timestamp::from_seconds(1_795_305_600), seed).to_string()
}
