//! What is personal, as it is sealed: the numbers of a record, and what a record or person is worth.
//!
//! ```text
//! batch.sealed    cells of one length, one per record in the order of its rows:
//!                 envelope(features f32 LE | label f32 LE)   bound to column "record" of table "batch" and to
//!                 row id of (append, position, row in the batch, record id), version 1
//! *_value.measure envelope(value f64 LE | 0 or 1 | standard error f64 LE | standing i64 LE | percentile f64 LE)
//! ```
//! A record is bound to its person by the key, and to its id and place by the row: two records can't change places, and
//! none can become another person's. The cell of a person who was erased before it was sealed holds the first two bytes
//! of an envelope, which tell its length, and zeros.

use portal_core::Sensitive;
use portal_core::id::{Id, SubjectId};
use portal_crypto::envelope::Padding;
use portal_keys::{KeysError, SubjectKeys};
use portal_store::sealed::{Row, Sealable, SealedColumn};
use portal_store::{Corruption, Sealed, StoreError};

use super::digests::VERSION;
use super::seals::Seals;
use crate::domain::id::AppendId;
use crate::domain::outcome::Standing;
use crate::error::Error;

pub(super) const RECORD_MEASURE: SealedColumn<Standing> =
    SealedColumn::new("record_value", "measure", Padding::None);
pub(super) const SUBJECT_MEASURE: SealedColumn<Standing> =
    SealedColumn::new("subject_value", "measure", Padding::None);
const RECORD: SealedColumn<Numbers> = SealedColumn::new("batch", "record", Padding::None);

const FLOAT: usize = size_of::<f32>();
/// What a cell is longer than its numbers, by the second byte of its envelope.
const OVERHEADS: [(u8, usize); 2] = [(1, 34), (2, 46)];
/// Version and suite of an envelope under the default suite.
const USUAL: [u8; 2] = [1, 1];

/// The features of a record, and its label last.
pub(super) struct Numbers(Vec<f32>);

impl Numbers {
    pub(super) fn new(features: &[f32], label: f32) -> Self {
        let mut numbers = Vec::with_capacity(features.len() + 1);
        numbers.extend_from_slice(features);
        numbers.push(label);
        Self(numbers)
    }

    /// Features and label.
    pub(super) fn split(self) -> Option<(Vec<f32>, f32)> {
        let Self(mut numbers) = self;
        let label = numbers.pop()?;
        Some((numbers, label))
    }

    /// Whether these are the same numbers, bit for bit.
    pub(super) fn same(&self, features: &[f32], label: f32) -> bool {
        let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        let Some((last, first)) = self.0.split_last() else { return false };
        last.to_bits() == label.to_bits() && bits(first) == bits(features)
    }
}

impl Sealable for Numbers {
    fn to_plaintext(&self) -> Sensitive<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.0.len() * FLOAT);
        for number in &self.0 {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        Sensitive::new(bytes)
    }

    fn from_plaintext(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<FLOAT>();
        let whole = rest.is_empty() && !numbers.is_empty();
        whole.then(|| Self(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect()))
    }
}

impl Sealable for Standing {
    fn to_plaintext(&self) -> Sensitive<Vec<u8>> {
        let mut bytes = Vec::with_capacity(33);
        bytes.extend_from_slice(&self.value.to_le_bytes());
        bytes.push(self.standard_error.is_some().into());
        bytes.extend_from_slice(&self.standard_error.unwrap_or_default().to_le_bytes());
        bytes.extend_from_slice(&self.rank.to_le_bytes());
        bytes.extend_from_slice(&self.percentile.to_le_bytes());
        Sensitive::new(bytes)
    }

    fn from_plaintext(bytes: &[u8]) -> Option<Self> {
        let (value, bytes) = bytes.split_first_chunk()?;
        let (&[has_error], bytes) = bytes.split_first_chunk()?;
        let (error, bytes) = bytes.split_first_chunk()?;
        let (rank, percentile) = bytes.split_first_chunk()?;
        let error = f64::from_le_bytes(*error);
        Some(Self {
            value: f64::from_le_bytes(*value),
            standard_error: match has_error {
                0 => None,
                1 => Some(error),
                _ => return None,
            },
            rank: i64::from_le_bytes(*rank),
            percentile: f64::from_le_bytes(percentile.try_into().ok()?),
        })
    }
}

/// Where a record stands: its batch and the row in it.
#[derive(Clone, Copy, Debug)]
pub struct RecordPlace<'a> {
    /// The append.
    pub append: AppendId,
    /// The batch.
    pub position: i64,
    /// The row in it, from zero.
    pub row: usize,
    /// The controller's id of it.
    pub record_id: &'a str,
}

impl RecordPlace<'_> {
    fn cell(&self) -> Row {
        let (append, position) = (self.append.uuid(), self.position.to_be_bytes());
        let row = super::integer(self.row).to_be_bytes();
        Row::composite(&[append.as_bytes(), &position, &row, self.record_id.as_bytes()], VERSION)
    }

    fn corrupt(&self, cause: Corruption) -> StoreError {
        let row = format!("{}/{}/{}", self.append, self.position, self.row);
        StoreError::Corrupt { table: "batch", column: "record", row, cause }
    }
}

/// The cells of a batch, being sealed in the order of its rows.
pub(super) struct Cells {
    bytes: Vec<u8>,
    /// Rows of people who were erased, and where their cells belong.
    erased: usize,
    cell: Option<([u8; 2], usize)>,
    width: usize,
}

impl Cells {
    /// For `rows` records of `width` features.
    pub(super) fn new(rows: usize, width: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(rows * cell_len(USUAL, width).unwrap_or(0)),
            erased: 0,
            cell: None,
            width,
        }
    }

    /// Seals the next record.
    pub(super) fn seal(
        &mut self,
        seals: &Seals,
        place: &RecordPlace<'_>,
        key: &portal_crypto::envelope::SubjectKey,
        numbers: &Numbers,
    ) -> Result<(), StoreError> {
        let sealed = RECORD.seal(&seals.sealing, key, place.cell(), numbers)?;
        let envelope = sealed.envelope();
        if self.cell.is_none() {
            let head = envelope.first_chunk().copied().unwrap_or(USUAL);
            self.cell = Some((head, envelope.len()));
            self.fill();
        }
        self.bytes.extend_from_slice(envelope);
        Ok(())
    }

    /// Leaves out the next record: its person was erased.
    pub(super) fn leave_out(&mut self) {
        self.erased += 1;
        if self.cell.is_some() {
            self.fill();
        }
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.cell.is_none() {
            self.cell = cell_len(USUAL, self.width).map(|len| (USUAL, len));
        }
        self.fill();
        self.bytes
    }

    fn fill(&mut self) {
        let Some((head, len)) = self.cell else { return };
        for _ in 0..std::mem::take(&mut self.erased) {
            let end = self.bytes.len() + len;
            self.bytes.extend_from_slice(&head);
            self.bytes.resize(end, 0);
        }
    }
}

/// The length of a cell that begins with `head`.
fn cell_len([_, suite]: [u8; 2], width: usize) -> Option<usize> {
    let (_, overhead) = OVERHEADS.iter().find(|(id, _)| *id == suite)?;
    width.checked_add(1)?.checked_mul(FLOAT)?.checked_add(*overhead)
}

/// The numbers of the record at `place` in the cells of its batch.
pub(super) fn open(
    seals: &Seals,
    sealed: &[u8],
    width: usize,
    place: &RecordPlace<'_>,
    key: &portal_crypto::envelope::SubjectKey,
) -> Result<Numbers, StoreError> {
    let malformed = || place.corrupt(Corruption::EnvelopeMalformed);
    let head = *sealed.first_chunk().ok_or_else(malformed)?;
    let len = cell_len(head, width).ok_or_else(malformed)?;
    if !sealed.len().is_multiple_of(len) {
        return Err(malformed());
    }
    let cell = sealed.chunks_exact(len).nth(place.row).ok_or_else(malformed)?;
    let opened = RECORD.open(&seals.sealing, key, place.cell(), &Sealed::from_envelope(cell.to_vec()));
    // The row of the error is what the cell is bound to; in logs the place is more use.
    opened.map_err(|error| match error {
        StoreError::Corrupt { cause, .. } => place.corrupt(cause),
        error => error,
    })
}

/// The key of `subject` to open what is sealed under it. A key that is not there, though something is sealed under it,
/// is told as the row's fault.
pub(super) fn opening_key(
    keys: &SubjectKeys,
    subject: SubjectId,
    corrupt: impl FnOnce(Corruption) -> StoreError,
) -> Result<&portal_crypto::envelope::SubjectKey, Error> {
    match keys.get(subject) {
        Ok(key) => Ok(key),
        Err(KeysError::Missing(_) | KeysError::Corrupt { .. }) => Err(corrupt(Corruption::KeyMissing).into()),
        Err(error) => Err(error.into()),
    }
}

impl RecordPlace<'_> {
    /// The numbers of the record, if its person's key is among `keys`.
    pub(super) fn open(
        &self,
        seals: &Seals,
        (sealed, width): (&[u8], usize),
        subject: SubjectId,
        keys: &SubjectKeys,
    ) -> Result<Numbers, Error> {
        let key = opening_key(keys, subject, |cause| self.corrupt(cause))?;
        Ok(open(seals, sealed, width, self, key)?)
    }

    /// The numbers have not the dataset's width.
    pub(super) fn unfit(&self) -> StoreError {
        self.corrupt(Corruption::ValueInvalid)
    }
}

#[cfg(test)]
mod tests;
