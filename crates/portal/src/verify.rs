//! `portal verify`: checks what was handed out, with nothing but files.

mod receipt;

use std::process::ExitCode;

use crate::cli::{Target, VerifyCommand};
use crate::config::Unusable;
use crate::ledger;

pub fn run(command: &VerifyCommand) -> anyhow::Result<ExitCode> {
    match command {
        VerifyCommand::Ledger { from: Some(file), keys, .. } => ledger::verify_file(file, keys.as_deref()),
        VerifyCommand::Ledger { from: None, service: Some(service), config, data_dir, .. } => {
            let (service, config, data_dir) = (*service, config.clone(), data_dir.clone());
            ledger::verify(&Target { service, config, data_dir })
        }
        VerifyCommand::Ledger { from: None, service: None, .. } => {
            Err(Unusable::one("name a service with --service, or a file with --from".to_owned()).into())
        }
        VerifyCommand::Receipt { file, keys } => receipt::run(file, keys),
    }
}
