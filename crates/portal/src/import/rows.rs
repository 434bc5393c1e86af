//! Records in a file: one after the other, each with its line, in memory one at a time.
//!
//! A line that can't be read is a record all the same: it keeps its position, and is refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use portal_proto::consent::v1 as pb;

use crate::cli::ImportFormat;
use crate::config::Unusable;

/// The columns, and the members of JSON objects.
const COLUMNS: [&str; 9] = [
    "subject_id",
    "purpose_id",
    "notice_id",
    "language",
    "status",
    "method",
    "event_time",
    "valid_for",
    "reason",
];
/// No record is longer.
const LONGEST: u64 = 1 << 16;

/// One record of the file.
pub struct Row {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// What it says, or what is wrong with it.
    pub record: Result<pb::ConsentRecord, String>,
}

/// The records of a file, in their order.
pub struct Rows {
    file: BufReader<File>,
    line: u64,
    /// The columns of CSV.
    columns: Option<Vec<String>>,
}

impl Rows {
    /// Opens a file. A CSV file without a usable head is no file of records.
    pub fn open(path: &Path, format: ImportFormat) -> anyhow::Result<Self> {
        let unusable = |problem: String| Unusable::one(format!("{}: {problem}", path.display()));
        let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
        let mut rows = Self { file: BufReader::new(file), line: 0, columns: None };
        if let ImportFormat::Csv = format {
            let head = rows.text(true)?.ok_or_else(|| unusable("it is empty".to_owned()))?;
            let head = head.1.and_then(|text| cells(text.trim_start_matches('\u{feff}')));
            let head = head.map_err(|problem| unusable(format!("line 1: {problem}")))?;
            if let Some(unknown) = head.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
                let known = COLUMNS.join(", ");
                return Err(unusable(format!("line 1: no column is called '{unknown}', but {known}")).into());
            }
            if let Some(twice) =
                head.iter().enumerate().find(|(at, name)| head.iter().take(*at).any(|n| n == *name))
            {
                return Err(unusable(format!("line 1: the column '{}' is there twice", twice.1)).into());
            }
            rows.columns = Some(head);
        }
        Ok(rows)
    }

    /// The next record, or `None` at the end. Lines with nothing on them are passed over.
    pub fn next_row(&mut self) -> io::Result<Option<Row>> {
        loop {
            let quoted = self.columns.is_some();
            let Some((line, text)) = self.text(quoted)? else { return Ok(None) };
            if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
                continue;
            }
            let record = text.and_then(|text| match &self.columns {
                Some(columns) => from_csv(columns, &text),
                None => from_json(&text),
            });
            return Ok(Some(Row { line, record }));
        }
    }

    /// The text of the next record: a line, or several if quotes span them.
    fn text(&mut self, quoted: bool) -> io::Result<Option<(u64, Result<String, String>)>> {
        let begins = self.line + 1;
        let mut bytes = Vec::new();
        loop {
            let room = LONGEST.saturating_sub(bytes.len() as u64);
            let read = self.file.by_ref().take(room).read_until(b'\n', &mut bytes)?;
            let ended = bytes.ends_with(b"\n");
            if read == 0 && bytes.is_empty() {
                return Ok(None);
            }
            // At the end of the file within quotes there is nothing more to read.
            let over = read == 0 || !ended;
            self.line += u64::from(read > 0 && (ended || read < usize::try_from(room).unwrap_or(usize::MAX)));
            let open = quoted && bytes.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
            if bytes.len() as u64 == LONGEST && (open || !ended) {
                if !ended {
                    self.pass_line()?;
                }
                return Ok(Some((begins, Err(format!("the record is longer than {LONGEST} bytes")))));
            }
            if !open || over {
                let text = String::from_utf8(bytes).map_err(|_| "the line is not UTF-8".to_owned());
                return Ok(Some((begins, text)));
            }
        }
    }

    /// Reads to the end of the line, and keeps nothing of it.
    fn pass_line(&mut self) -> io::Result<()> {
        self.line += 1;
        loop {
            let mut piece = Vec::new();
            let read = self.file.by_ref().take(LONGEST).read_until(b'\n', &mut piece)?;
            if read == 0 || piece.ends_with(b"\n") {
                return Ok(());
            }
        }
    }
}

fn from_csv(columns: &[String], text: &str) -> Result<pb::ConsentRecord, String> {
    let cells = cells(text)?;
    if cells.len() != columns.len() {
        return Err(format!("there are {} cells, and {} columns", cells.len(), columns.len()));
    }
    record(columns.iter().map(String::as_str).zip(cells))
}

fn from_json(text: &str) -> Result<pb::ConsentRecord, String> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text)
        .map_err(|error| format!("not a JSON object: column {}", error.column()))?;
    let mut fields = Vec::with_capacity(object.len());
    for (name, value) in object {
        let serde_json::Value::String(value) = value else { return Err(format!("{name} must be a string")) };
        fields.push((name, value));
    }
    record(fields.iter().map(|(name, value)| (name.as_str(), value.clone())))
}

/// The cells of a record (RFC 4180).
fn cells(text: &str) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut rest = text.trim_end_matches(['\r', '\n']);
    loop {
        let (cell, after) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (cell, after) = rest.split_at(end);
                if cell.contains('"') {
                    return Err("a quote stands within a cell that does not begin with one".to_owned());
                }
                (cell.to_owned(), after)
            }
            Some(quoted) => quoted_cell(quoted)?,
        };
        cells.push(cell);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(cells),
            None => return Err("a quoted cell goes on after its quote".to_owned()),
        }
    }
}

/// A cell whose first quote is gone, and what comes after its last.
fn quoted_cell(mut rest: &str) -> Result<(String, &str), String> {
    let mut cell = String::new();
    loop {
        let (text, after) = rest.split_once('"').ok_or("a quote is not closed")?;
        cell.push_str(text);
        match after.strip_prefix('"') {
            Some(next) => {
                cell.push('"');
                rest = next;
            }
            None => return Ok((cell, after)),
        }
    }
}

/// A record of fields. Only their form is looked at: the service says whether they can be recorded.
fn record<'a>(fields: impl Iterator<Item = (&'a str, String)>) -> Result<pb::ConsentRecord, String> {
    let mut record = pb::ConsentRecord::default();
    for (name, value) in fields {
        let wrong = |form: &str| format!("{name} must be {form}");
        match name {
            "subject_id" => record.subject_id = value,
            "purpose_id" => record.purpose_id = value,
            "notice_id" => record.notice_id = value,
            "language" => record.language = value,
            "reason" => record.reason = value,
            _ if value.is_empty() => {}
            "status" => {
                let status = pb::ConsentStatus::from_str_name(&prefixed("CONSENT_STATUS_", &value));
                record.status =
                    status.ok_or_else(|| wrong("GIVEN, REFUSED, WITHDRAWN or RENEWED_GIVEN"))?.into();
            }
            "method" => {
                let method = pb::IndicationMethod::from_str_name(&prefixed("INDICATION_METHOD_", &value));
                record.method = method.ok_or_else(|| wrong("a known method such as BUTTON"))?.into();
            }
            "event_time" => {
                let time = value.parse().map_err(|_| wrong("a time such as 2026-05-01T12:00:00Z"))?;
                record.event_time = Some(time);
            }
            "valid_for" => {
                let term = value.parse().map_err(|_| wrong("seconds such as 31536000s"))?;
                record.valid_for = Some(term);
            }
            _ => return Err(format!("no field is called '{name}'")),
        }
    }
    Ok(record)
}

fn prefixed(prefix: &str, value: &str) -> String {
    let value = value.to_ascii_uppercase();
    if value.starts_with(prefix) { value } else { format!("{prefix}{value}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn rows(
        name: &str,
        text: &[u8],
        format: ImportFormat,
    ) -> anyhow::Result<Vec<(u64, Result<String, String>)>> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        let mut rows = Rows::open(&path, format)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next_row()? {
            all.push((
                row.line,
                row.record.map(|record| format!("{}|{}|{}", record.subject_id, record.status, record.reason)),
            ));
        }
        Ok(all)
    }

    #[test]
    fn csv_has_quotes_line_breaks_and_lines_that_are_wrong() {
        let text = b"\xef\xbb\xbfsubject_id,status,reason\r\n\
            a,GIVEN,\r\n\
            \r\n\
            b,withdrawn,\"too many, \"\"really\"\"\nmany\"\r\n\
            c,GIVEN\r\n\
            d,perhaps,\r\n\
            e,GI\"VEN,\r\n\
            \xff,GIVEN,\r\n\
            f,CONSENT_STATUS_REFUSED,";
        let rows = rows("x.csv", text, ImportFormat::Csv).unwrap();
        assert_eq!(rows[0], (2, Ok("a|3|".to_owned())));
        assert_eq!(rows[1], (4, Ok("b|5|too many, \"really\"\nmany".to_owned())));
        assert_eq!(rows[2], (6, Err("there are 2 cells, and 3 columns".to_owned())));
        assert_eq!(rows[3], (7, Err("status must be GIVEN, REFUSED, WITHDRAWN or RENEWED_GIVEN".to_owned())));
        assert!(rows[4].0 == 8 && rows[4].1.is_err());
    }

    #[test]
    fn a_quote_that_is_never_closed_ends_with_the_file() {
        let text = b"subject_id,reason\na,\nb,\"open\nc,\n";
        let rows = rows("x.csv", text, ImportFormat::Csv).unwrap();
        assert_eq!(rows, [(2, Ok("a|0|".to_owned())), (3, Err("a quote is not closed".to_owned()))]);
    }

    #[test]
    fn a_head_must_be_known_columns_each_once() {
        for head in ["", "subject,status\n", "subject_id,subject_id\n", "\"subject_id\n"] {
            assert!(rows("x.csv", head.as_bytes(), ImportFormat::Csv).is_err(), "{head}");
        }
    }

    #[test]
    fn json_lines_are_objects_of_known_strings() {
        let long = format!("{{\"subject_id\":\"{}\"}}\n", "x".repeat(70_000));
        let text = [
            "{\"subject_id\":\"a\",\"status\":\"GIVEN\"}\n\n[]\n{\"subject\":\"a\"}\n{\"subject_id\":1}\n",
            &long,
            "{\"subject_id\":\"b\"}",
        ];
        let rows = rows("x.jsonl", text.concat().as_bytes(), ImportFormat::Jsonl).unwrap();
        let lines: Vec<_> = rows.iter().map(|(line, record)| (*line, record.is_ok())).collect();
        assert_eq!(lines, [(1, true), (3, false), (4, false), (5, false), (6, false), (7, true)]);
        assert_eq!(rows[5].1, Ok("b|0|".to_owned()));
    }
}
