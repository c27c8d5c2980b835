//! The ledger: records as rows of the table `documents`, and back.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::TryStreamExt;
use lance::table::format::Fragment;
use pagesight_core::{
    DocumentId, DocumentRecord, DocumentStatus, Failure, FailureKind, ModelId, PageFailure,
};
use serde::Deserialize;

use super::{
    Rows, field, json, numbers, old_failures, optional_strings, optional_text, string_at, strings,
};
use crate::error::StoreError;
use crate::lance::table::LanceTable;

const FAILURE_KIND: &str = "failure_kind";
const STALE: &str = "stale";

/// What stands in `failed_pages` as the kind of a page that is indexed and whose words wait for OCR.
const WAITING: &str = "waiting";

/// The columns that tables of earlier formats lack.
pub(crate) fn new_document_columns() -> Vec<Field> {
    vec![optional_text(FAILURE_KIND), optional_text(STALE)]
}

pub(crate) fn documents_schema() -> SchemaRef {
    let mut fields = vec![
        field("path", DataType::Utf8),
        optional_text("document"),
        field("bytes", DataType::UInt64),
        field("modified_ns", DataType::Int64),
        field("status", DataType::Utf8),
        field("page_count", DataType::UInt32),
        field("pages_indexed", DataType::UInt32),
        field("next_page", DataType::UInt32),
        field("failed_pages", DataType::Utf8),
        optional_text("reason"),
        field("notes", DataType::Utf8),
        optional_text("title"),
        optional_text("model"),
    ];
    fields.extend(new_document_columns());
    Arc::new(Schema::new(fields))
}

/// Rows for `records`.
pub(crate) fn documents_batch(records: &[DocumentRecord]) -> RecordBatch {
    let failed: Vec<String> = records.iter().map(page_states).collect();
    let notes: Vec<String> = records.iter().map(|r| json(&r.notes)).collect();
    let columns: Vec<ArrayRef> = vec![
        strings(records.iter().map(|r| r.path.as_str())),
        optional_strings(records.iter().map(|r| r.document.map(|id| id.to_string()))),
        Arc::new(UInt64Array::from_iter_values(records.iter().map(|r| r.bytes))),
        Arc::new(Int64Array::from_iter_values(records.iter().map(|r| r.modified_ns))),
        strings(records.iter().map(|r| r.status.as_str())),
        numbers(records.iter().map(|r| r.page_count)),
        numbers(records.iter().map(|r| r.pages_indexed)),
        numbers(records.iter().map(|r| r.next_page)),
        strings(failed.iter().map(String::as_str)),
        optional_strings(records.iter().map(|r| r.failure.as_ref().map(|f| f.reason.as_str()))),
        strings(notes.iter().map(String::as_str)),
        optional_strings(records.iter().map(|r| r.title.as_deref())),
        optional_strings(records.iter().map(|r| r.model.as_ref().map(|m| m.0.as_str()))),
        optional_strings(records.iter().map(|r| r.failure.as_ref().map(|f| f.kind.as_str()))),
        optional_strings(records.iter().map(|r| r.stale.as_ref().map(json))),
    ];
    RecordBatch::try_new(documents_schema(), columns).expect("columns follow the schema")
}

/// A failure as JSON has it, whose kind may be missing (formats 1 to 4) or one that this version
/// does not know.
#[derive(Deserialize)]
struct StoredFailure {
    kind: Option<String>,
    reason: String,
}

impl StoredFailure {
    fn into_failure(self) -> Failure {
        failure_of(self.reason, self.kind.as_deref())
    }
}

#[derive(Deserialize)]
struct StoredPageFailure {
    page: u32,
    #[serde(flatten)]
    failure: StoredFailure,
}

impl StoredPageFailure {
    fn is_waiting(&self) -> bool {
        self.failure.kind.as_deref() == Some(WAITING)
    }
}

fn failure_of(reason: String, kind: Option<&str>) -> Failure {
    match kind {
        Some(kind) => Failure::new(FailureKind::parse(kind), reason),
        None => old_failures::failure(&reason),
    }
}

/// The pages of a record that failed, and those that wait for OCR.
fn page_states(record: &DocumentRecord) -> String {
    let failed = record.failed_pages.iter().map(|failed| serde_json::json!(failed));
    let reason = "its words are still to be read";
    let waiting = record.waiting_pages.iter();
    let waiting =
        waiting.map(|page| serde_json::json!({"page": page, "kind": WAITING, "reason": reason}));
    json(&failed.chain(waiting).collect::<Vec<_>>())
}

impl Rows<'_> {
    /// The ledger records of the batch.
    pub fn documents(&self) -> Result<Vec<DocumentRecord>, StoreError> {
        let (path, document) = (self.strings("path")?, self.strings("document")?);
        let (bytes, modified) = (self.u64s("bytes")?, self.i64s("modified_ns")?);
        let status = self.strings("status")?;
        let (count, indexed) = (self.u32s("page_count")?, self.u32s("pages_indexed")?);
        let next = self.u32s("next_page")?;
        let (failed, notes) = (self.strings("failed_pages")?, self.strings("notes")?);
        let (reason, title) = (self.strings("reason")?, self.strings("title")?);
        let model = self.strings("model")?;
        let (kind, stale) = (self.later_strings(FAILURE_KIND)?, self.later_strings(STALE)?);
        let record = |row: usize| {
            let document = string_at(document, row).map(str::parse::<DocumentId>).transpose();
            let failures: Vec<StoredPageFailure> =
                serde_json::from_str(failed.value(row)).map_err(|_| self.wrong("failed_pages"))?;
            let mut notes: Vec<String> =
                serde_json::from_str(notes.value(row)).map_err(|_| self.wrong("notes"))?;
            let kind = kind.and_then(|kind| string_at(kind, row));
            let stale = stale
                .and_then(|stale| string_at(stale, row))
                .map(serde_json::from_str::<StoredFailure>)
                .transpose()
                .map_err(|_| self.wrong(STALE))?;
            let (waiting, failed): (Vec<_>, Vec<_>) =
                failures.into_iter().partition(StoredPageFailure::is_waiting);
            Ok(DocumentRecord {
                path: path.value(row).to_string(),
                document: document.map_err(|_| self.wrong("document"))?,
                bytes: bytes.value(row),
                modified_ns: modified.value(row),
                status: DocumentStatus::parse(status.value(row))
                    .ok_or_else(|| self.wrong("status"))?,
                page_count: count.value(row),
                pages_indexed: indexed.value(row),
                next_page: next.value(row),
                waiting_pages: waiting.into_iter().map(|waiting| waiting.page).collect(),
                failed_pages: failed
                    .into_iter()
                    .map(|failed| PageFailure::new(failed.page, failed.failure.into_failure()))
                    .collect(),
                failure: string_at(reason, row).map(|reason| failure_of(reason.into(), kind)),
                stale: stale
                    .map(StoredFailure::into_failure)
                    .or_else(|| old_failures::take_stale(&mut notes)),
                notes,
                title: string_at(title, row).map(String::from),
                model: string_at(model, row).map(|model| ModelId(model.into())),
            })
        };
        (0..self.batch.num_rows()).map(record).collect()
    }
}

/// Every record of the ledger in `table`.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn read_ledger(table: &LanceTable) -> Result<Vec<DocumentRecord>, StoreError> {
    read_records(table, None).await
}

/// The records of the ledger in `table` that `filter`, SQL, lets through.
///
/// # Errors
/// When it cannot be read.
pub(crate) async fn read_records(
    table: &LanceTable,
    filter: Option<String>,
) -> Result<Vec<DocumentRecord>, StoreError> {
    let mut records = Vec::new();
    let mut rows = table.read_short(filter).await?;
    while let Some(batch) = rows.try_next().await? {
        records.extend(Rows { batch: &batch, path: &table.path }.documents()?);
    }
    Ok(records)
}

/// The records that `fragments` of the ledger in `table` have.
///
/// # Errors
/// When they cannot be read.
pub(crate) async fn read_ledger_of(
    table: &LanceTable,
    fragments: Vec<Fragment>,
) -> Result<Vec<DocumentRecord>, StoreError> {
    let schema = documents_schema();
    let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let mut records = Vec::new();
    for batch in table.read_row_ids_of(&columns, fragments).await? {
        records.extend(Rows { batch: &batch, path: &table.path }.documents()?);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::array::StringArray;
    use pagesight_core::testing::document_record;

    use super::*;

    const TABLE: &str = "documents.lance";

    fn records() -> Vec<DocumentRecord> {
        let id = DocumentId::of(b"x");
        let mut record = document_record("a \"b\".pdf", id, 3);
        let broken = Failure::new(FailureKind::Damaged, "broken");
        record.failed_pages = vec![PageFailure::new(2, broken), PageFailure::lost(3)];
        record.notes = vec!["note".into()];
        record.failure = Some(Failure::new(FailureKind::TooLarge, "r"));
        record.model = Some(ModelId("m".into()));
        record.title = Some("t".into());
        let mut missing = document_record("gone.pdf", id, 0);
        missing.document = None;
        missing.stale = Some(Failure::new(FailureKind::Unreadable, "no \"disk\""));
        vec![record, missing]
    }

    #[test]
    fn records_come_back_as_they_went() {
        let batch = documents_batch(&records());
        let rows = Rows { batch: &batch, path: Path::new(TABLE) };
        assert_eq!(rows.documents().unwrap(), records());
    }

    #[test]
    fn a_kind_of_a_later_version_is_another_one() {
        let batch = documents_batch(&records());
        let mut columns = batch.columns().to_vec();
        let at = batch.schema().index_of(FAILURE_KIND).unwrap();
        columns[at] = Arc::new(StringArray::from(vec![Some("melted"), None]));
        let at = batch.schema().index_of("failed_pages").unwrap();
        columns[at] = Arc::new(StringArray::from(vec![
            r#"[{"page":2,"kind":"melted","reason":"hot","more":1}]"#,
            "[]",
        ]));
        let batch = RecordBatch::try_new(batch.schema(), columns).unwrap();
        let read = Rows { batch: &batch, path: Path::new(TABLE) }.documents().unwrap();
        assert_eq!(read[0].failure, Some(Failure::new(FailureKind::Other, "r")));
        let hot = Failure::new(FailureKind::Other, "hot");
        assert_eq!(read[0].failed_pages, [PageFailure::new(2, hot)]);
    }

    #[test]
    fn rows_of_earlier_formats_are_read_by_their_sentences() {
        let batch = documents_batch(&records());
        let mut columns = batch.columns().to_vec();
        for (name, values) in [
            ("reason", [Some("encrypted: give the password with --password"), None]),
            (
                "failed_pages",
                [
                    Some(
                        r#"[{"page":2,"reason":"took longer than 30 s and was stopped"},{"page":3,"reason":"lost to damage of the index: the next run reads it again"}]"#,
                    ),
                    Some("[]"),
                ],
            ),
            (
                "notes",
                [Some("[]"), Some(r#"["shows what it was before; the file now: not a PDF"]"#)],
            ),
        ] {
            let at = batch.schema().index_of(name).unwrap();
            columns[at] = Arc::new(StringArray::from(values.to_vec()));
        }
        let before = columns.len() - new_document_columns().len();
        // Without the new columns, and with them, null, as a writer adds them.
        for kept in [before, columns.len()] {
            let mut columns = columns[..kept].to_vec();
            for column in columns.iter_mut().skip(before) {
                *column = optional_strings([None::<&str>, None].into_iter());
            }
            let fields = batch.schema().fields()[..kept].to_vec();
            let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
            let read = Rows { batch: &batch, path: Path::new(TABLE) }.documents().unwrap();
            assert_eq!(read[0].failure.as_ref().unwrap().kind, FailureKind::Encrypted);
            let kinds = [FailureKind::Timeout, FailureKind::Lost];
            assert!(read[0].failed_pages.iter().map(|failed| failed.failure.kind).eq(kinds));
            assert_eq!(read[0].failed_pages[1], PageFailure::lost(3));
            assert_eq!((read[0].stale.as_ref(), read[1].notes.len()), (None, 0));
            assert_eq!(read[1].stale, Some(Failure::new(FailureKind::Damaged, "not a PDF")));
        }
    }
}
