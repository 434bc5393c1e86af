//! What a wrapped key is bound to.
//!
//! `"portal/root-wrap/v1" ‖ 0 ‖ len service ‖ service ‖ tenant 16 ‖ use 1 ‖ key id 16 ‖ root id 16`, the same bytes for
//! each provider: `info` of HPKE, additional data of AES-GCM in a token, `associated_data` of Transit.

use portal_core::Workload;

use crate::RootId;

const LABEL: &[u8] = b"portal/root-wrap/v1\0";

/// What a wrapped key is for. The numbers never change.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyUse {
    /// An epoch key (1).
    Epoch,
    /// A service secret (2).
    ServiceSecret,
}

impl KeyUse {
    /// The stable number.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Epoch => 1,
            Self::ServiceSecret => 2,
        }
    }
}

/// Whose key it is, what for, and which: a wrapped key opens under no other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyContext {
    /// The service.
    pub service: Workload,
    /// The tenant's id.
    pub tenant: [u8; 16],
    /// What for.
    pub key_use: KeyUse,
    /// Which.
    pub key_id: [u8; 16],
}

impl KeyContext {
    /// The bytes that are authenticated with a key wrapped under `root`.
    #[must_use]
    pub fn to_bytes(&self, root: RootId) -> Vec<u8> {
        let service = self.service.name().as_bytes();
        let length = u8::try_from(service.len()).unwrap_or(u8::MAX);
        let parts =
            [LABEL, &[length], service, &self.tenant, &[self.key_use.id()], &self.key_id, root.as_bytes()];
        parts.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: KeyContext =
        KeyContext { service: Workload::Auth, tenant: [1; 16], key_use: KeyUse::Epoch, key_id: [2; 16] };
    const ROOT: RootId = RootId::from_bytes([3; 16]);

    #[test]
    fn the_bytes_are_those_of_the_description() {
        let mut expect = b"portal/root-wrap/v1\0\x04auth".to_vec();
        expect.extend([[1; 16].as_slice(), &[1], &[2; 16], &[3; 16]].concat());
        assert_eq!(CONTEXT.to_bytes(ROOT), expect);
    }

    #[test]
    fn no_two_contexts_have_the_same_bytes() {
        let others = [
            KeyContext { service: Workload::Consent, ..CONTEXT },
            KeyContext { tenant: [9; 16], ..CONTEXT },
            KeyContext { key_use: KeyUse::ServiceSecret, ..CONTEXT },
            KeyContext { key_id: [9; 16], ..CONTEXT },
        ];
        for other in others {
            assert_ne!(other.to_bytes(ROOT), CONTEXT.to_bytes(ROOT));
        }
        assert_ne!(CONTEXT.to_bytes(RootId::from_bytes([9; 16])), CONTEXT.to_bytes(ROOT));
    }
}
