//! The ledger as somebody sees it who keeps what they are given and believes nothing: every checkpoint, every receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use portal_crypto::cose::Key;
use portal_crypto::hash::Sha256;
use portal_crypto::merkle::{TreeHead, proof};
use portal_crypto::suite::Suites;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::ledger_service_client::LedgerServiceClient;
use portal_proto::consent::v1::receipt_service_client::ReceiptServiceClient;
use portal_proto::consent::v1::{
    ConsentEvent, ConsentStatus, GetConsentRequest, GetReceiptRequest, ListConsentEventsRequest,
};
use portal_proto::ledger::v1::get_inclusion_proof_request::Leaf;
use portal_proto::ledger::v1::{GetCheckpointRequest, GetConsistencyProofRequest, GetInclusionProofRequest};
use portal_receipt::Proof;
use portal_tests::{Channel, Portal};
use serde_json::Value;

use crate::kill9::writers::{Write, Writer};

/// What is known of it.
pub struct Ledger {
    /// Its keys, from before the first kill.
    keys: Vec<Key>,
    /// Every head that was handed out: size and root.
    pub heads: BTreeSet<(u64, Sha256)>,
    /// Every event that was proven, by its id.
    pub events: BTreeMap<String, ConsentEvent>,
    /// Those that are still to be proven, with the subject who may see the receipt.
    new: Vec<(ConsentEvent, Channel)>,
}

impl Ledger {
    pub async fn of(portal: &Portal) -> Self {
        let (_, keys) = portal.json("GET", "/v1/consent/ledger/keys", None, &Value::Null).await;
        let keys = portal_receipt::keys::parse(keys.to_string().as_bytes()).unwrap();
        Self { keys, heads: BTreeSet::new(), events: BTreeMap::new(), new: Vec::new() }
    }

    /// Finds what `writer` was told in the table and among the events, and nothing else.
    pub async fn events_of(&mut self, subject: &Channel, writer: &Writer) {
        let (size, subject_id) = (writer.len(), &writer.person.as_ref().unwrap().subject_id);
        let mut consents = ConsentServiceClient::new(subject.clone());
        let mut request = ListConsentEventsRequest {
            subject_id: subject_id.clone(),
            page_size: 1_000,
            ..ListConsentEventsRequest::default()
        };
        let mut events = Vec::new();
        let sequenced = async {
            loop {
                let page = consents.list_consent_events(request.clone()).await.unwrap().into_inner();
                events.extend(page.events);
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    if events.iter().all(|event: &ConsentEvent| event.ledger_index.is_some()) {
                        return std::mem::take(&mut events);
                    }
                    events.clear();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        let mut events = tokio::time::timeout(Duration::from_secs(60), sequenced).await.unwrap();
        events.reverse();
        assert_eq!(events.len(), size, "events and answers of {subject_id}");
        for ((write, _), event) in writer.journal.iter().zip(&events) {
            let given = matches!(write, Write::Give(_));
            let status = if given { ConsentStatus::Given } else { ConsentStatus::Withdrawn };
            assert_eq!(event.status(), status, "{event:?}");
        }
        let (last, event) = (writer.journal.last().unwrap(), events.last().unwrap());
        let request = GetConsentRequest { consent_id: event.consent_id.clone(), ..Default::default() };
        let consent = consents.get_consent(request).await.unwrap().into_inner();
        assert_eq!((Some(&consent.etag), consent.status()), (last.1.as_ref(), event.status()));
        for event in events {
            match self.events.get(&event.event_id) {
                // What was proven once never changes.
                Some(known) => assert_eq!(*known, event),
                None => self.new.push((event, subject.clone())),
            }
        }
    }

    /// Proves what is new: by its receipt, which is verified with the keys alone, and in the tree of the newest checkpoint,
    /// which continues every one before it.
    pub async fn prove(&mut self, channel: &Channel, writers: &[Writer]) {
        let end = self.new.iter().filter_map(|(event, _)| event.ledger_index).max().unwrap_or_default();
        let signed = async {
            loop {
                match newest(channel).await {
                    Some(head) if head.size > u64::try_from(end).unwrap() => return head,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        let head = tokio::time::timeout(Duration::from_secs(60), signed).await.unwrap();
        for (event, subject) in std::mem::take(&mut self.new) {
            // A receipt holds a signed head too, which the newest has to continue.
            let proven_in = self.receipt(&subject, &event).await;
            self.heads.insert((proven_in.size, proven_in.root));
            let at = event.ledger_index.unwrap();
            let request = GetInclusionProofRequest {
                leaf: Some(Leaf::LeafIndex(at)),
                tree_size: i64::try_from(head.size).unwrap(),
            };
            let found = LedgerServiceClient::new(channel.clone()).get_inclusion_proof(request).await.unwrap();
            let found = found.into_inner();
            let leaf: Sha256 = found.leaf_hash.try_into().unwrap();
            let path = hashes(found.hashes);
            proof::verify_inclusion(&leaf, u64::try_from(at).unwrap(), &head, &path).unwrap();
            self.events.insert(event.event_id.clone(), event);
        }
        let told: usize = writers.iter().map(Writer::len).sum();
        assert_eq!(self.events.len(), told, "events that nobody was told of");
        let positions: BTreeSet<_> = self.events.values().map(|event| event.ledger_index).collect();
        assert_eq!(positions.len(), told, "events at one position");
        self.heads.insert((head.size, head.root));
        for (size, root) in self.heads.iter().filter(|(size, _)| *size > 0) {
            let request = GetConsistencyProofRequest {
                first_tree_size: i64::try_from(*size).unwrap(),
                second_tree_size: i64::try_from(head.size).unwrap(),
            };
            let found =
                LedgerServiceClient::new(channel.clone()).get_consistency_proof(request).await.unwrap();
            let old = TreeHead { size: *size, root: *root };
            proof::verify_consistency(&old, &head, &hashes(found.into_inner().hashes)).unwrap();
        }
    }

    /// Verifies the receipt of `event`, and returns the tree that it proves its position in.
    async fn receipt(&self, subject: &Channel, event: &ConsentEvent) -> TreeHead {
        let request = GetReceiptRequest { receipt_id: event.receipt_id.clone() };
        let receipt =
            ReceiptServiceClient::new(subject.clone()).get_receipt(request).await.unwrap().into_inner();
        assert_eq!(receipt.event_id, event.event_id);
        let proof = Proof { cose: &receipt.cose, inclusion: Some(&receipt.inclusion) };
        let report = portal_receipt::verify(&proof, &self.keys, Suites::ALL);
        assert!(report.valid(), "{:?}", report.findings);
        let included = report.included.unwrap();
        assert_eq!(i64::try_from(included.leaf_index).ok(), event.ledger_index);
        included.head
    }
}

/// Keeps every checkpoint that is handed out until the service dies.
pub async fn watch(channel: Channel) -> BTreeSet<(u64, Sha256)> {
    let mut heads = BTreeSet::new();
    while let Some(head) = newest(&channel).await {
        heads.insert((head.size, head.root));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    heads
}

/// The newest head, as long as there is somebody to ask.
async fn newest(channel: &Channel) -> Option<TreeHead> {
    let asked = LedgerServiceClient::new(channel.clone()).get_checkpoint(GetCheckpointRequest {}).await;
    let checkpoint = asked.ok()?.into_inner();
    let root = checkpoint.root_hash.try_into().unwrap();
    Some(TreeHead { size: u64::try_from(checkpoint.tree_size).unwrap(), root })
}

fn hashes(hashes: Vec<Vec<u8>>) -> Vec<Sha256> {
    hashes.into_iter().map(|hash| hash.try_into().unwrap()).collect()
}
