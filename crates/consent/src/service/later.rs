//! Services whose methods all come later: their rows in the policy stand, and each method answers UNIMPLEMENTED.

use portal_proto::consent::v1::{
    consent_change_service_server::ConsentChangeService, ledger_service_server::LedgerService,
    receipt_service_server::ReceiptService, subject_service_server::SubjectService,
};

use super::Edge;

impl ConsentChangeService for Edge {}

impl LedgerService for Edge {}

impl ReceiptService for Edge {}

impl SubjectService for Edge {}
