//! Services whose methods all come later: their rows in the policy stand, and each method answers UNIMPLEMENTED.

use portal_proto::consent::v1::{
    consent_change_service_server::ConsentChangeService, integrity_service_server::IntegrityService,
    key_service_server::KeyService, ledger_service_server::LedgerService,
    migration_service_server::MigrationService, receipt_service_server::ReceiptService,
    subject_service_server::SubjectService,
};

use super::Edge;

impl ConsentChangeService for Edge {}

impl IntegrityService for Edge {}

impl KeyService for Edge {}

impl LedgerService for Edge {}

impl MigrationService for Edge {}

impl ReceiptService for Edge {}

impl SubjectService for Edge {}
