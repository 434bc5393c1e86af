//! Identifiers: one newtype per kind of resource, so that a purpose can't be passed for a notice.
//!
//! New ids are UUIDv7 (RFC 9562) from an injected clock and entropy: they sort by creation time, which keeps database
//! indexes dense. Parsing takes any hyphenated UUID, since subjects may be known to a controller under one of its own.

use std::fmt;

use uuid::Uuid;

use crate::entropy::random_bytes;
use crate::{Entropy, LogSafe, Timestamp};

/// The text is not a hyphenated UUID.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be a UUID such as 0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f")]
pub struct InvalidId;

/// What every id has in common.
pub trait Id: Copy + Eq + fmt::Display + Send + Sync + 'static {
    /// From the 128-bit value.
    fn from_uuid(uuid: Uuid) -> Self;

    /// The 128-bit value.
    fn uuid(self) -> Uuid;

    /// From the 16 bytes of stored records.
    #[must_use]
    fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_uuid(Uuid::from_bytes(bytes))
    }

    /// The 16 bytes of stored records, most significant first.
    #[must_use]
    fn bytes(self) -> [u8; 16] {
        self.uuid().into_bytes()
    }

    /// A new id: 48 bits of `now` in milliseconds, 74 random bits.
    #[must_use]
    fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
        let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
        let random: [u8; 10] = random_bytes(entropy);
        Self::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Parses the hyphenated form, 36 characters.
    ///
    /// # Errors
    /// [`InvalidId`] for anything else, braces, URNs and bare hexadecimal included.
    fn parse(text: &str) -> Result<Self, InvalidId> {
        if text.len() != 36 {
            return Err(InvalidId);
        }
        Uuid::try_parse(text).map(Self::from_uuid).map_err(|_| InvalidId)
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Uuid);

        impl Id for $name {
            fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl LogSafe for $name {}
    )+};
}

ids! {
    /// An acknowledgement of changes of consents by a recipient.
    AckId,
    /// An account of the authentication service.
    AccountId,
    /// An OAuth client.
    ClientId,
    /// One person's standing decision about one purpose.
    ConsentId,
    /// A dataset of the valuation service.
    DatasetId,
    /// An epoch key: the key that wraps the data keys of one service and tenant for some ninety days.
    EpochId,
    /// One change of a consent.
    EventId,
    /// A second factor of an account.
    FactorId,
    /// A privacy notice.
    NoticeId,
    /// A long-running operation.
    OperationId,
    /// A purpose of processing.
    PurposeId,
    /// A receipt of a consent event.
    ReceiptId,
    /// A root key of a key provider.
    RootId,
    /// A signed-in session.
    SessionId,
    /// The person that data is about: the same id in every service.
    SubjectId,
    /// Whose data it is, where one installation serves several controllers.
    TenantId,
    /// One valuation of a dataset.
    ValuationId,
}

impl TenantId {
    /// The only tenant of an installation that has one: the nil UUID.
    pub const DEFAULT: Self = Self(Uuid::nil());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn new_ids_are_version_7_and_sort_by_time() {
        let entropy = SeededEntropy::new(1);
        let early = PurposeId::generate(Timestamp::from_seconds(1_000), &entropy);
        let late = PurposeId::generate(Timestamp::from_seconds(1_001), &entropy);
        assert!(early < late);
        assert_eq!(early.uuid().get_version_num(), 7);
        assert_eq!(PurposeId::parse(&early.to_string()), Ok(early));
        assert_eq!(PurposeId::from_bytes(early.bytes()), early);
    }

    #[test]
    fn the_default_tenant_never_changes() {
        assert_eq!(TenantId::DEFAULT.to_string(), "00000000-0000-0000-0000-000000000000");
        assert_eq!(TenantId::DEFAULT.bytes(), [0; 16]);
    }

    #[test]
    fn refuses_every_other_shape() {
        for text in [
            "",
            "x",
            "0198c3a47d1e7cc398c4dc0c0c07398f",
            "{0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f}",
            "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398g",
            "0198c3a4-7d1e-7cc3-98c4-dc0c0c07398f ",
        ] {
            assert_eq!(PurposeId::parse(text), Err(InvalidId), "{text:?}");
        }
    }
}
