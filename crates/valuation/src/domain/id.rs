//! Ids that never leave the service.

use std::fmt;

use portal_core::LogSafe;
use portal_core::id::Id;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
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
    /// One call that appends records.
    AppendId,
    /// A worker, for as long as its process lives: the holder of leases.
    WorkerId,
}
