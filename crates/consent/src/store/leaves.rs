//! What the ledger of this service has: the kinds of its entries, and what each refers to.

use portal_ledger::Kind;

/// A change of a consent; the reference is the id of the event.
pub(crate) const EVENT: Kind = Kind(1);
/// A purpose was published or archived. The entry refers to no row, but to itself.
pub(crate) const PURPOSE: Kind = Kind(2);
/// A notice was published. The entry refers to no row, but to itself.
pub(crate) const NOTICE: Kind = Kind(3);
/// An acknowledgement of changes; the reference is its id.
pub(crate) const ACK: Kind = Kind(4);
