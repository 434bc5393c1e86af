//! Files with a receipt: the signed object itself, or the JSON that `GetReceipt` answers at the gateway.

use serde_json::Value;

use crate::keys::base64;
use crate::verify::Proof;

/// The file is neither JSON with a receipt in it nor CBOR.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a receipt: expected the signed object (COSE_Sign1) or the JSON answer of GetReceipt")]
pub struct InvalidFile;

/// What a file holds.
#[derive(Clone, Eq, PartialEq)]
pub struct ReceiptFile {
    cose: Vec<u8>,
    inclusion: Option<Vec<u8>>,
}

impl ReceiptFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`InvalidFile`] if it is neither form. What is in a form may still not verify.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidFile> {
        match bytes.trim_ascii_start().first() {
            Some(b'{') => Self::json(bytes),
            // The tag of COSE_Sign1, in any of its encodings: that only one is valid, verification says.
            Some(0xd2 | 0xd8 | 0xd9 | 0xda | 0xdb) => Ok(Self { cose: bytes.to_vec(), inclusion: None }),
            _ => Err(InvalidFile),
        }
    }

    fn json(bytes: &[u8]) -> Result<Self, InvalidFile> {
        let json: Value = serde_json::from_slice(bytes).map_err(|_| InvalidFile)?;
        let member = |name: &str| match json.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => base64(text).map(Some).ok_or(InvalidFile),
            Some(_) => Err(InvalidFile),
        };
        let cose = member("cose")?.ok_or(InvalidFile)?;
        let inclusion = member("inclusion")?.filter(|inclusion| !inclusion.is_empty());
        Ok(Self { cose, inclusion })
    }

    /// What is to be verified.
    #[must_use]
    pub fn proof(&self) -> Proof<'_> {
        Proof { cose: &self.cose, inclusion: self.inclusion.as_deref() }
    }
}
