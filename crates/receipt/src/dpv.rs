//! Consent records and receipts in DPV JSON-LD, ours and those of others: the guide of the W3C Data Privacy Vocabulary to
//! ISO/IEC TS 27560.
//!
//! A [`Document`] is a node with an id, types, and properties, each of which has values: text, numbers, or nodes. Reading
//! keeps everything. Where a document repeats a key, as examples of the guide do and ordinary parsers lose, the values
//! come together, and are written as an array. [`validate()`] names what the guide demands and a document lacks.

mod json;
mod validate;

use serde_json::{Map, Value as Json};

pub use json::InvalidDocument;
pub use validate::{Lack, validate};

/// Documents longer than this are not read.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// A consent record or receipt.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document(Node);

/// A thing that is described.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// `@id`.
    pub id: Option<String>,
    /// `@type`: what it is.
    pub types: Values,
    /// What is said of it, in the order it was said. No property stands twice.
    pub properties: Vec<(Property, Values)>,
}

/// The values of a property.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Values {
    items: Vec<Value>,
    /// Whether it was written as an array: one value can be either.
    array: bool,
}

/// One value.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A thing that is described in its place.
    Node(Box<Node>),
    /// A number, as it was written.
    Number(serde_json::Number),
    /// Text: a literal, or the name of something that is described elsewhere.
    Text(String),
}

macro_rules! properties {
    ($($variant:ident = $name:literal,)+) => {
        /// What can be said of something: the properties of the guide, and what others say beside them.
        #[derive(Clone, Debug, Eq, PartialEq)]
        #[allow(missing_docs, reason = "each is the term of the guide")]
        pub enum Property {
            $($variant,)+
            /// None of the guide's.
            Other(String),
        }

        impl Property {
            /// The property of this name.
            #[must_use]
            pub fn named(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                }
            }

            /// Its name.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Other(name) => name,
                }
            }
        }
    };
}

properties! {
    ApplicableLaw = "dpv:hasApplicableLaw",
    Assessment = "dpv:hasAssessment",
    Broader = "skos:broader",
    Comment = "rdfs:comment",
    ConformsTo = "dct:conformsTo",
    ConsentControl = "dpv:hasConsentControl",
    ConsentStatus = "dpv:hasConsentStatus",
    ContactPoint = "schema:contactPoint",
    ContactType = "schema:contactType",
    Coverage = "dct:coverage",
    Created = "dct:created",
    DataController = "dpv:hasDataController",
    DataProcessor = "dpv:hasDataProcessor",
    DataSubject = "dpv:hasDataSubject",
    Date = "dct:date",
    Description = "dct:description",
    Duration = "dpv:hasDuration",
    Email = "schema:email",
    Entity = "dpv:hasEntity",
    Exercised = "dpv:isExercisedAt",
    HasIdentifier = "dpv:hasIdentifier",
    HumanInvolvement = "dpv:hasHumanInvolvement",
    Identifier = "dct:identifier",
    Implemented = "dpv:isImplementedBy",
    Indicated = "dpv:isIndicatedBy",
    IndicatedAt = "dpv:isIndicatedAtTime",
    IndicationMethod = "dpv:hasIndicationMethod",
    Jurisdiction = "dpv:hasJurisdiction",
    Justification = "dpv:hasJustification",
    Language = "dct:language",
    LegalBasis = "dpv:hasLegalBasis",
    Location = "dpv:hasLocation",
    Name = "dpv:hasName",
    Necessity = "dpv:hasNecessity",
    Notice = "dpv:hasNotice",
    OrganisationalMeasure = "dpv:hasOrganisationalMeasure",
    PersonalData = "dpv:hasPersonalData",
    Process = "dpv:hasProcess",
    Processing = "dpv:hasProcessing",
    ProcessingAutomation = "dpv:hasProcessingAutomation",
    Publisher = "dct:publisher",
    Purpose = "dpv:hasPurpose",
    RdfValue = "rdf:value",
    ReceiptRecipient = "schema:recipient",
    Recipient = "dpv:hasRecipient",
    RecordOfActivity = "dpv:hasRecordOfActivity",
    Right = "dpv:hasRight",
    Scale = "dpv:hasScale",
    Service = "dpv:hasService",
    StorageCondition = "dpv:hasStorageCondition",
    StreetAddress = "schema:streetAddress",
    Telephone = "schema:telephone",
    Title = "dct:title",
    Url = "schema:url",
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// [`InvalidDocument`] if it is not JSON, or not that of a consent record or receipt.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidDocument> {
        let node = json::parse(bytes)?;
        if node.is_a("dpv:ConsentRecord") || node.is_a("dpv:ConsentReceipt") {
            Ok(Self(node))
        } else {
            Err(InvalidDocument::Other)
        }
    }

    /// The document that `node` is.
    pub(crate) const fn of(node: Node) -> Self {
        Self(node)
    }

    /// The record or receipt itself.
    #[must_use]
    pub const fn root(&self) -> &Node {
        &self.0
    }

    /// The document as JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        self.0.to_json()
    }
}

impl Node {
    /// A node of this type.
    #[must_use]
    pub(crate) fn new(of: &str) -> Self {
        Self { types: Values::one(of), ..Self::default() }
    }

    pub(crate) fn with_id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// With this said, if it says anything.
    pub(crate) fn with(mut self, property: Property, values: impl Into<Values>) -> Self {
        let values = values.into();
        if !values.items.is_empty() {
            self.properties.push((property, values));
        }
        self
    }

    /// Whether it says to be of this type.
    #[must_use]
    pub fn is_a(&self, of: &str) -> bool {
        self.types.texts().any(|name| name == of)
    }

    /// What is said of it by `property`.
    pub fn values(&self, property: &Property) -> impl Iterator<Item = &Value> {
        self.properties.iter().filter(move |(name, _)| name == property).flat_map(|(_, values)| &values.items)
    }

    /// Those of the values of `property` that are described in their place.
    pub fn nodes(&self, property: &Property) -> impl Iterator<Item = &Self> {
        self.values(property).filter_map(|value| match value {
            Value::Node(node) => Some(&**node),
            Value::Bool(_) | Value::Number(_) | Value::Text(_) => None,
        })
    }

    /// Adds what was said under `name`, beside what was said under it before.
    fn say(&mut self, property: Property, mut values: Values) {
        match self.properties.iter_mut().find(|(name, _)| *name == property) {
            Some((_, said)) => said.append(&mut values),
            None => self.properties.push((property, values)),
        }
    }

    fn to_json(&self) -> Json {
        let mut members = Map::new();
        if let Some(id) = &self.id {
            members.insert("@id".to_owned(), Json::from(id.as_str()));
        }
        if !self.types.items.is_empty() || self.types.array {
            members.insert("@type".to_owned(), self.types.to_json());
        }
        for (property, values) in &self.properties {
            members.insert(property.name().to_owned(), values.to_json());
        }
        Json::Object(members)
    }
}

impl Values {
    /// One value.
    pub(crate) fn one(value: impl Into<Value>) -> Self {
        Self { items: vec![value.into()], array: false }
    }

    /// As many as there are: one stands by itself.
    pub(crate) fn some<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Self {
        let items: Vec<Value> = values.into_iter().map(Into::into).collect();
        Self { array: items.len() > 1, items }
    }

    /// Those that are text.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.items.iter().filter_map(|value| match value {
            Value::Text(text) => Some(text.as_str()),
            Value::Bool(_) | Value::Node(_) | Value::Number(_) => None,
        })
    }

    fn append(&mut self, more: &mut Self) {
        self.items.append(&mut more.items);
        self.array = true;
    }

    fn to_json(&self) -> Json {
        let values = || self.items.iter().map(Value::to_json);
        match values().next() {
            Some(value) if !self.array => value,
            _ => values().collect(),
        }
    }
}

impl Value {
    fn to_json(&self) -> Json {
        match self {
            Self::Bool(value) => Json::from(*value),
            Self::Node(node) => node.to_json(),
            Self::Number(number) => Json::from(number.clone()),
            Self::Text(text) => Json::from(text.as_str()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Node> for Value {
    fn from(node: Node) -> Self {
        Self::Node(Box::new(node))
    }
}

impl<V: Into<Value>> From<V> for Values {
    fn from(value: V) -> Self {
        Self::one(value)
    }
}

impl<V: Into<Value>> From<Option<V>> for Values {
    fn from(value: Option<V>) -> Self {
        Self::some(value)
    }
}
