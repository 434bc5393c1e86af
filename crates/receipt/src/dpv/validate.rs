//! What the guide demands of a record or receipt, and what a document lacks of it.
//!
//! What a process does not say, the record around it may say for it, and a process inside another inherits from it.

use std::fmt;

use super::{Document, Node, Property, Value};
use crate::record::Status;

/// A field that a document lacks, or whose value is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lack {
    /// The field: names of properties from the root, such as `dpv:hasProcess[0]/dpv:hasPurpose`.
    pub field: String,
    /// What it is in ISO/IEC TS 27560.
    pub meaning: &'static str,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} is demanded", self.field, self.meaning)
    }
}

/// What every process must say, or the record for it.
const OF_PROCESS: [(Property, &str); 7] = [
    (Property::Purpose, "the purpose"),
    (Property::LegalBasis, "the lawful basis"),
    (Property::PersonalData, "the types of personal data"),
    (Property::DataController, "the controller"),
    (Property::Recipient, "the recipients"),
    (Property::Jurisdiction, "the jurisdiction"),
    (Property::ConsentControl, "the method of withdrawal"),
];

/// The demanded fields that `document` lacks, in its order; none if it is complete.
#[must_use]
pub fn validate(document: &Document) -> Vec<Lack> {
    let mut lacks = Lacks(Vec::new());
    let root = document.root();
    lacks.header(root, "");
    if root.is_a("dpv:ConsentReceipt") {
        lacks.must(root, "", &Property::RecordOfActivity, "the record");
        for (nth, record) in root.nodes(&Property::RecordOfActivity).enumerate() {
            let at = format!("{}[{nth}]/", Property::RecordOfActivity.name());
            lacks.header(record, &at);
            lacks.record(record, &at);
        }
    } else {
        lacks.record(root, "");
    }
    lacks.0
}

struct Lacks(Vec<Lack>);

impl Lacks {
    fn lack(&mut self, at: &str, property: &Property, meaning: &'static str) {
        self.0.push(Lack { field: format!("{at}{}", property.name()), meaning });
    }

    fn must(&mut self, node: &Node, at: &str, property: &Property, meaning: &'static str) {
        if node.values(property).next().is_none() {
            self.lack(at, property, meaning);
        }
    }

    fn header(&mut self, node: &Node, at: &str) {
        self.must(node, at, &Property::ConformsTo, "the version of the schema");
        let named = |property| node.values(property).next().is_some();
        if !named(&Property::Identifier) && !named(&Property::HasIdentifier) {
            self.lack(at, &Property::Identifier, "the identifier");
        }
    }

    fn record(&mut self, record: &Node, at: &str) {
        self.must(record, at, &Property::DataSubject, "the data subject");
        self.must(record, at, &Property::Notice, "the notice");
        for (nth, notice) in record.nodes(&Property::Notice).enumerate() {
            let at = format!("{at}{}[{nth}]/", Property::Notice.name());
            self.must(notice, &at, &Property::Language, "the language of the notice");
        }
        self.must(record, at, &Property::Process, "the processing");
        for (nth, process) in record.nodes(&Property::Process).enumerate() {
            let at = format!("{at}{}[{nth}]/", Property::Process.name());
            self.process(process, &[record], &at);
        }
        self.events(record, at);
        self.must(record, at, &Property::Entity, "the parties");
        for (nth, party) in record.nodes(&Property::Entity).enumerate() {
            let at = format!("{at}{}[{nth}]/", Property::Entity.name());
            self.party(party, &at);
        }
    }

    /// A process with others inside is complete if those are, each with what it inherits.
    fn process(&mut self, process: &Node, around: &[&Node], at: &str) {
        let chain: Vec<&Node> = around.iter().copied().chain([process]).collect();
        let inner: Vec<&Node> = process.nodes(&Property::Process).collect();
        for (nth, inner) in inner.iter().enumerate() {
            let at = format!("{at}{}[{nth}]/", Property::Process.name());
            self.process(inner, &chain, &at);
        }
        if !inner.is_empty() {
            return;
        }
        let said = |property: &Property| chain.iter().any(|node| node.values(property).next().is_some());
        for (property, meaning) in &OF_PROCESS {
            if !said(property) {
                self.lack(at, property, meaning);
            }
        }
        let stored = |of: &str| {
            let mut conditions = chain.iter().flat_map(|node| node.nodes(&Property::StorageCondition));
            conditions.any(|condition| condition.is_a(of))
        };
        for (of, meaning) in
            [("dpv:StorageLocation", "the storage location"), ("dpv:StorageDuration", "the retention period")]
        {
            if !stored(of) {
                self.lack(at, &Property::StorageCondition, meaning);
            }
        }
    }

    fn events(&mut self, record: &Node, at: &str) {
        self.must(record, at, &Property::ConsentStatus, "the state of the consent");
        for (nth, value) in record.values(&Property::ConsentStatus).enumerate() {
            let name = format!("{at}{}[{nth}]", Property::ConsentStatus.name());
            let known = |name: &str| Status::ALL.iter().any(|status| status.term() == name);
            let (of_status, event) = match value {
                Value::Text(text) => (known(text), None),
                Value::Node(node) => (node.types.texts().any(known), Some(node)),
                Value::Bool(_) | Value::Number(_) => (false, None),
            };
            if !of_status {
                self.0.push(Lack { field: name.clone(), meaning: "a state of the vocabulary" });
            }
            let nothing = Node::default();
            let event = event.map_or(&nothing, |node| node);
            let at = format!("{name}/");
            let times: Vec<&Value> = event.values(&Property::IndicatedAt).collect();
            if times.is_empty() || !times.into_iter().all(is_time) {
                self.lack(&at, &Property::IndicatedAt, "the time of the event");
            }
            self.must(event, &at, &Property::Indicated, "who caused the event");
        }
    }

    fn party(&mut self, party: &Node, at: &str) {
        let named = party.id.is_some()
            || party.values(&Property::Identifier).next().is_some()
            || party.values(&Property::HasIdentifier).next().is_some();
        if !named {
            self.lack(at, &Property::HasIdentifier, "the identifier of the party");
        }
        // The person is one of the parties, and is not asked for an address.
        if !party.is_a("dpv:DataSubject") {
            self.must(party, at, &Property::Name, "the name of the party");
            self.must(party, at, &Property::ContactPoint, "the contact of the party");
        }
    }
}

/// A date, or a date and a time, of ISO 8601.
fn is_time(value: &Value) -> bool {
    let Value::Text(text) = value else { return false };
    text.parse::<jiff::Timestamp>().is_ok()
        || text.parse::<jiff::civil::DateTime>().is_ok()
        || text.parse::<jiff::civil::Date>().is_ok()
}
