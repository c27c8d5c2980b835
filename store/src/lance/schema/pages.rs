//! The two Lance tables, column by column. Plain Lance: any lancedb client can open them.
//!
//! `documents`, the ledger, one row a path:
//!
//! | column | type | what |
//! |---|---|---|
//! | `path` | utf8 | relative to the index's base folder when below it, else absolute |
//! | `document` | utf8, null | blake3 of the bytes, 64 hexadecimal digits; null when unreadable |
//! | `bytes` | uint64 | file size, bytes |
//! | `modified_ns` | int64 | modification time, ns since 1970 |
//! | `status` | utf8 | `in_progress`, `ok`, `partial` or `failed` |
//! | `page_count` | uint32 | pages in the document, 0 when unknown |
//! | `pages_indexed` | uint32 | pages that are in `pages` |
//! | `next_page` | uint32 | where an interrupted run goes on, 1-based |
//! | `failed_pages` | utf8 | JSON: `[{"page": 3, "reason": "..."}]` |
//! | `reason` | utf8, null | why the document failed |
//! | `notes` | utf8 | JSON: `["..."]` |
//! | `title` | utf8, null | from the PDF's metadata |
//! | `model` | utf8, null | model_id of its vectors |
//!
//! `pages`, one row a page:
//!
//! | column | type | what |
//! |---|---|---|
//! | `document` | utf8 | as above |
//! | `number` | uint32 | 1-based page number |
//! | `width_pt`, `height_pt` | float32 | size as displayed, points (1/72 inch) |
//! | `text` | utf8 | the words, in the order of the text layer |
//! | `text_source` | utf8 | `layer`, `ocr` or `none` |
//! | `page_crc32c` | uint32 | CRC32C of document, number, sizes, text_source, text |
//! | `n_vectors` | uint32 | rows of `vectors`, 0 without a model |
//! | `vectors` | list<fixed_size_list<float16, dim>>, null | the multi-vector `[n_vectors, dim]`, unit rows |
//! | `vectors_crc32c` | uint32 | CRC32C of document, number, the vectors' bytes and the places |
//! | `places` | `list<uint32>`, null | where each vector stands on the page, see `PatchGrid`; null where all are there, in order |
//!
//! Indexes of formats 1 and 2 lack `places`: they have all vectors of each page.
//!
//! Numbers enter a checksum as little-endian bytes, strings as UTF-8.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, Int64Array,
    ListArray, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    DataType, Field, Float16Type, Float32Type, Int64Type, Schema, SchemaRef, UInt32Type, UInt64Type,
};
use half::f16;
use pagesight_core::{
    DocumentId, DocumentRecord, DocumentStatus, ModelId, PageFailure, PageId, PageRecord, PageSize,
    PageVectors, TextSource,
};

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use crate::StoreError;

/// Vectors and words of one batch on its way in, bytes: what Lance gathers for a page of its own.
const BATCH_BYTES: usize = 8 << 20;

pub(crate) fn documents_schema() -> SchemaRef {
    let field = |name, data_type| Field::new(name, data_type, false);
    let optional = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        field("path", DataType::Utf8),
        optional("document"),
        field("bytes", DataType::UInt64),
        field("modified_ns", DataType::Int64),
        field("status", DataType::Utf8),
        field("page_count", DataType::UInt32),
        field("pages_indexed", DataType::UInt32),
        field("next_page", DataType::UInt32),
        field("failed_pages", DataType::Utf8),
        optional("reason"),
        field("notes", DataType::Utf8),
        optional("title"),
        optional("model"),
    ]))
}

fn row_field(dim: usize) -> Arc<Field> {
    let value = Arc::new(Field::new("item", DataType::Float16, true));
    Arc::new(Field::new("item", DataType::FixedSizeList(value, dim as i32), true))
}

/// Where each vector of a page stands on it.
pub(crate) const PLACES: &str = "places";

/// An entry of a list of places.
fn place_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::UInt32, true))
}

/// The column that format 3 added.
pub(crate) fn places_field() -> Field {
    Field::new(PLACES, DataType::List(place_field()), true)
}

pub(crate) fn pages_schema(dim: usize) -> SchemaRef {
    let field = |name, data_type| Field::new(name, data_type, false);
    Arc::new(Schema::new(vec![
        field("document", DataType::Utf8),
        field("number", DataType::UInt32),
        field("width_pt", DataType::Float32),
        field("height_pt", DataType::Float32),
        field("text", DataType::Utf8),
        field("text_source", DataType::Utf8),
        field("page_crc32c", DataType::UInt32),
        field("n_vectors", DataType::UInt32),
        Field::new("vectors", DataType::List(row_field(dim)), true),
        field("vectors_crc32c", DataType::UInt32),
        places_field(),
    ]))
}

fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn optional_strings(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn numbers(values: impl Iterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data becomes JSON")
}

pub(crate) fn documents_batch(records: &[DocumentRecord]) -> RecordBatch {
    let failed: Vec<String> = records.iter().map(|r| json(&r.failed_pages)).collect();
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
        optional_strings(records.iter().map(|r| r.reason.clone())),
        strings(notes.iter().map(String::as_str)),
        optional_strings(records.iter().map(|r| r.title.clone())),
        optional_strings(records.iter().map(|r| r.model.as_ref().map(|m| m.0.clone()))),
    ];
    RecordBatch::try_new(documents_schema(), columns).expect("columns follow the schema")
}

/// Rows for `pages`, all vectors of `dim`.
pub(crate) fn pages_batch(dim: usize, pages: &[PageRecord]) -> RecordBatch {
    let ids: Vec<String> = pages.iter().map(|p| p.id.document.to_string()).collect();
    let count = |page: &PageRecord| page.vectors.as_ref().map_or(0, PageVectors::len);
    let mut values: Vec<f16> = Vec::with_capacity(pages.iter().map(|page| count(page) * dim).sum());
    for page in pages {
        values.extend_from_slice(page.vectors.as_ref().map_or(&[], PageVectors::values));
    }
    let DataType::FixedSizeList(value, _) = row_field(dim).data_type().clone() else {
        unreachable!("a row is a fixed-size list");
    };
    let rows =
        FixedSizeListArray::new(value, dim as i32, Arc::new(Float16Array::from(values)), None);
    let offsets = OffsetBuffer::from_lengths(pages.iter().map(count));
    let present = NullBuffer::from_iter(pages.iter().map(|page| page.vectors.is_some()));
    let vectors = ListArray::new(row_field(dim), offsets, Arc::new(rows), Some(present));
    let columns: Vec<ArrayRef> = vec![
        strings(ids.iter().map(String::as_str)),
        numbers(pages.iter().map(|p| p.id.number)),
        Arc::new(Float32Array::from_iter_values(pages.iter().map(|p| p.size.width_pt))),
        Arc::new(Float32Array::from_iter_values(pages.iter().map(|p| p.size.height_pt))),
        strings(pages.iter().map(|p| p.text.as_str())),
        strings(pages.iter().map(|p| p.text_source.as_str())),
        numbers(pages.iter().map(page_checksum)),
        numbers(pages.iter().map(|p| count(p) as u32)),
        Arc::new(vectors),
        numbers(pages.iter().map(|p| vectors_checksum(p.id, p.vectors.as_ref()))),
        places_column(pages.iter().map(|p| p.vectors.as_ref().and_then(PageVectors::places))),
    ];
    RecordBatch::try_new(pages_schema(dim), columns).expect("columns follow the schema")
}

fn places_column<'a>(pages: impl Iterator<Item = Option<&'a [u32]>> + Clone) -> ArrayRef {
    let values = pages.clone().flat_map(|places| places.unwrap_or_default());
    let values = UInt32Array::from_iter_values(values.copied());
    let offsets =
        OffsetBuffer::from_lengths(pages.clone().map(|places| places.map_or(0, <[_]>::len)));
    let present = NullBuffer::from_iter(pages.map(|places| places.is_some()));
    Arc::new(ListArray::new(place_field(), offsets, Arc::new(values), Some(present)))
}

/// Rows for `pages`, a few megabytes at a time; a page is gone once its rows are.
pub(crate) fn pages_batches(
    dim: usize,
    pages: Vec<PageRecord>,
) -> impl Iterator<Item = RecordBatch> + Send + 'static {
    let mut pages = pages.into_iter().peekable();
    std::iter::from_fn(move || {
        let bytes = |page: &PageRecord| {
            page.text.len() + page.vectors.as_ref().map_or(0, |v| size_of_val(v.values()))
        };
        let mut some = vec![pages.next()?];
        let mut taken = bytes(&some[0]);
        while let Some(page) = pages.next_if(|next| taken + bytes(next) <= BATCH_BYTES) {
            taken += bytes(&page);
            some.push(page);
        }
        Some(pages_batch(dim, &some))
    })
}

fn page_checksum(page: &PageRecord) -> u32 {
    let mut crc = crc32c::crc32c(page.id.document.to_string().as_bytes());
    for bytes in [
        &page.id.number.to_le_bytes()[..],
        &page.size.width_pt.to_le_bytes(),
        &page.size.height_pt.to_le_bytes(),
        page.text_source.as_str().as_bytes(),
        page.text.as_bytes(),
    ] {
        crc = crc32c::crc32c_append(crc, bytes);
    }
    crc
}

fn vectors_checksum(id: PageId, vectors: Option<&PageVectors>) -> u32 {
    let places = vectors.and_then(PageVectors::places);
    checksum(id, vectors.map_or(&[], PageVectors::values), places.unwrap_or_default())
}

fn checksum(id: PageId, values: &[f16], places: &[u32]) -> u32 {
    let crc = crc32c::crc32c(id.document.to_string().as_bytes());
    let crc = crc32c::crc32c_append(crc, &id.number.to_le_bytes());
    // In pieces, so that a page of vectors is not copied whole.
    let crc = values.chunks(4096).fold(crc, |crc, piece| {
        let mut bytes = [0u8; 8192];
        for (value, bytes) in piece.iter().zip(bytes.chunks_exact_mut(2)) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        crc32c::crc32c_append(crc, &bytes[..piece.len() * 2])
    });
    places.iter().fold(crc, |crc, place| crc32c::crc32c_append(crc, &place.to_le_bytes()))
}

/// A batch read from the table at `path`, column by column.
pub(crate) struct Rows<'a> {
    pub batch: &'a RecordBatch,
    pub path: &'a Path,
}

impl Rows<'_> {
    fn column(&self, name: &'static str) -> Result<&ArrayRef, StoreError> {
        self.batch.column_by_name(name).ok_or_else(|| self.wrong(name))
    }

    fn wrong(&self, column: &'static str) -> StoreError {
        StoreError::Column { path: self.path.to_path_buf(), column }
    }

    fn strings(&self, name: &'static str) -> Result<&StringArray, StoreError> {
        self.column(name)?.as_string_opt::<i32>().ok_or_else(|| self.wrong(name))
    }

    fn numbers(&self, name: &'static str) -> Result<&UInt32Array, StoreError> {
        self.column(name)?.as_primitive_opt::<UInt32Type>().ok_or_else(|| self.wrong(name))
    }

    fn floats(&self, name: &'static str) -> Result<&Float32Array, StoreError> {
        self.column(name)?.as_primitive_opt::<Float32Type>().ok_or_else(|| self.wrong(name))
    }

    /// Which pages the rows are, and their places in the table. A damaged name is no page's; who
    /// asks for the page learns that it is not there.
    pub fn places_of_pages(&self) -> Result<Vec<(PageId, u64)>, StoreError> {
        let (document, number) = (self.strings("document")?, self.numbers("number")?);
        let places = self.column("_rowid")?.as_primitive_opt::<UInt64Type>();
        let places = places.ok_or_else(|| self.wrong("_rowid"))?;
        let place = |row| {
            let page =
                PageId { document: document.value(row).parse().ok()?, number: number.value(row) };
            Some((page, places.value(row)))
        };
        Ok((0..self.batch.num_rows()).filter_map(place).collect())
    }

    /// The ledger records of the batch.
    pub fn documents(&self) -> Result<Vec<DocumentRecord>, StoreError> {
        let (path, document) = (self.strings("path")?, self.strings("document")?);
        let bytes = self.column("bytes")?.as_primitive_opt::<UInt64Type>();
        let bytes = bytes.ok_or_else(|| self.wrong("bytes"))?;
        let modified = self.column("modified_ns")?.as_primitive_opt::<Int64Type>();
        let modified = modified.ok_or_else(|| self.wrong("modified_ns"))?;
        let status = self.strings("status")?;
        let (count, indexed) = (self.numbers("page_count")?, self.numbers("pages_indexed")?);
        let next = self.numbers("next_page")?;
        let (failed, notes) = (self.strings("failed_pages")?, self.strings("notes")?);
        let (reason, title) = (self.strings("reason")?, self.strings("title")?);
        let model = self.strings("model")?;
        let optional = |column: &StringArray, row: usize| {
            (!column.is_null(row)).then(|| column.value(row).to_string())
        };
        (0..self.batch.num_rows())
            .map(|row| {
                let id = optional(document, row).map(|id| id.parse::<DocumentId>());
                let failures: Result<Vec<PageFailure>, _> = serde_json::from_str(failed.value(row));
                Ok(DocumentRecord {
                    path: path.value(row).to_string(),
                    document: id.transpose().map_err(|_| self.wrong("document"))?,
                    bytes: bytes.value(row),
                    modified_ns: modified.value(row),
                    status: DocumentStatus::parse(status.value(row))
                        .ok_or_else(|| self.wrong("status"))?,
                    page_count: count.value(row),
                    pages_indexed: indexed.value(row),
                    next_page: next.value(row),
                    failed_pages: failures.map_err(|_| self.wrong("failed_pages"))?,
                    reason: optional(reason, row),
                    notes: serde_json::from_str(notes.value(row))
                        .map_err(|_| self.wrong("notes"))?,
                    title: optional(title, row),
                    model: optional(model, row).map(ModelId),
                })
            })
            .collect()
    }

    fn ids(&self) -> Result<Vec<PageId>, StoreError> {
        let (document, number) = (self.strings("document")?, self.numbers("number")?);
        (0..self.batch.num_rows())
            .map(|row| {
                let document = document.value(row).parse().map_err(|_| self.wrong("document"))?;
                Ok(PageId { document, number: number.value(row) })
            })
            .collect()
    }

    fn damaged(&self, id: PageId, what: impl Into<String>) -> StoreError {
        StoreError::DamagedPage {
            path: self.path.to_path_buf(),
            page: id.to_string(),
            what: what.into(),
        }
    }

    /// Size and words of each page, checked; `vectors` stay `None`.
    pub fn pages(&self) -> Result<Vec<PageRecord>, StoreError> {
        let (width, height) = (self.floats("width_pt")?, self.floats("height_pt")?);
        let (text, source) = (self.strings("text")?, self.strings("text_source")?);
        let checksum = self.numbers("page_crc32c")?;
        let page = |(row, id): (usize, PageId)| {
            let size = PageSize { width_pt: width.value(row), height_pt: height.value(row) };
            let text_source = TextSource::parse(source.value(row));
            let text_source = text_source.ok_or_else(|| self.damaged(id, "its text source"))?;
            let text = text.value(row).to_string();
            let page = PageRecord { id, size, text, text_source, vectors: None };
            match page_checksum(&page) == checksum.value(row) {
                true => Ok(page),
                false => Err(self.damaged(id, "the checksum of its words is wrong")),
            }
        };
        self.ids()?.into_iter().enumerate().map(page).collect()
    }

    /// Each page by itself, whole and checked.
    pub fn every_page(&self) -> Vec<Result<PageRecord, StoreError>> {
        let page = |row| {
            let batch = self.batch.slice(row, 1);
            let one = Rows { batch: &batch, path: self.path };
            let mut page = one.pages()?.remove(0);
            page.vectors = one.vectors()?.pop().map(|(_, vectors)| vectors);
            let count = page.vectors.as_ref().map_or(0, PageVectors::len);
            match one.numbers("n_vectors")?.value(0) as usize == count {
                true => Ok(page),
                false => Err(self.damaged(page.id, "the count of its vectors is wrong")),
            }
        };
        (0..self.batch.num_rows()).map(page).collect()
    }

    /// The multi-vector of each page that has one, checked.
    pub fn vectors(&self) -> Result<Vec<(PageId, PageVectors)>, StoreError> {
        let vectors = self.column("vectors")?.as_list_opt::<i32>();
        let vectors = vectors.ok_or_else(|| self.wrong("vectors"))?;
        let places = match self.batch.column_by_name(PLACES) {
            Some(column) => Some(column.as_list_opt::<i32>().ok_or_else(|| self.wrong(PLACES))?),
            None => None,
        };
        let sums = self.numbers("vectors_crc32c")?;
        // Checking and copying is half of a scan: on all cores.
        let page = |(row, id): (usize, PageId)| {
            let places = match places.filter(|places| places.is_valid(row)) {
                Some(places) => {
                    let numbers = places.value(row);
                    let numbers = numbers.as_primitive_opt::<UInt32Type>();
                    Some(numbers.ok_or_else(|| self.wrong(PLACES))?.values().to_vec())
                }
                None => None,
            };
            let sum = |values| checksum(id, values, places.as_deref().unwrap_or_default());
            if vectors.is_null(row) {
                return match sum(&[]) == sums.value(row) {
                    true => Ok(None),
                    false => Err(self.damaged(id, "its vectors are gone")),
                };
            }
            let list = vectors.value(row);
            let list = list.as_fixed_size_list_opt().ok_or_else(|| self.wrong("vectors"))?;
            let values = list.values().as_primitive_opt::<Float16Type>();
            let values = values.ok_or_else(|| self.wrong("vectors"))?.values();
            if sum(values) != sums.value(row) {
                return Err(self.damaged(id, "the checksum of its vectors is wrong"));
            }
            let vectors = PageVectors::new(list.value_length() as usize, values.to_vec());
            let vectors = vectors.and_then(|vectors| match places {
                Some(places) => vectors.with_places(places),
                None => Ok(vectors),
            });
            Ok(Some((id, vectors.map_err(|e| self.damaged(id, e.to_string()))?)))
        };
        let rows = self.ids()?.into_par_iter().enumerate();
        let pages: Result<Vec<_>, _> = rows.map(page).collect();
        Ok(pages?.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use pagesight_core::testing::{document_record, page_record};

    use super::*;

    #[test]
    fn rows_come_back_as_they_went() {
        let id = DocumentId::of(b"x");
        let mut record = document_record("a \"b\".pdf", id, 3);
        record.failed_pages = vec![PageFailure { page: 2, reason: "broken".into() }];
        record.notes = vec!["note".into()];
        record.reason = Some("r".into());
        record.model = Some(ModelId("m".into()));
        let mut missing = document_record("gone.pdf", id, 0);
        missing.document = None;
        let records = vec![record, missing];
        let batch = documents_batch(&records);
        let path = Path::new("documents.lance");
        assert_eq!(Rows { batch: &batch, path }.documents().unwrap(), records);

        let page = page_record(id, 1, "words", Some((2, &[1.0, 0.0, 0.6, 0.8])));
        let plain = page_record(id, 2, "", None);
        let mut pruned = page_record(id, 3, "words", Some((2, &[0.0, 1.0])));
        pruned.vectors = pruned.vectors.map(|vectors| vectors.with_places(vec![6_149]).unwrap());
        let pages = [page, plain, pruned];
        let batch = pages_batch(2, &pages);
        let rows = Rows { batch: &batch, path };
        let without = pages.clone().map(|page| PageRecord { vectors: None, ..page });
        assert_eq!(rows.pages().unwrap(), without);
        let vectors = rows.vectors().unwrap();
        let expected = pages.iter().filter_map(|page| Some((page.id, page.vectors.clone()?)));
        assert_eq!(vectors, expected.collect::<Vec<_>>());
        let every: Result<Vec<_>, _> = rows.every_page().into_iter().collect();
        assert_eq!(every.unwrap(), pages);

        // As formats 1 and 2 have it.
        let old = batch.project(&(0..batch.num_columns() - 1).collect::<Vec<_>>()).unwrap();
        let rows = Rows { batch: &old.slice(0, 2), path };
        assert_eq!(rows.vectors().unwrap(), vectors[..1]);
    }

    #[test]
    fn a_flipped_bit_is_seen() {
        let id = DocumentId::of(b"x");
        let page = page_record(id, 1, "words", Some((2, &[1.0, 0.0])));
        let mut other = page.clone();
        other.text = "wards".into();
        other.vectors = Some(PageVectors::from_f32(2, &[1.0, 0.001]).unwrap());
        let mut moved = page.clone();
        moved.vectors = moved.vectors.map(|vectors| vectors.with_places(vec![1]).unwrap());
        let good = pages_batch(2, &[page]);
        // The content of one row under the checksums of the other.
        for (bad, name, words) in [
            (&other, "page_crc32c", true),
            (&other, "vectors_crc32c", false),
            (&moved, "vectors_crc32c", false),
        ] {
            let bad = pages_batch(2, std::slice::from_ref(bad));
            let at = bad.schema().index_of(name).unwrap();
            let mut columns = bad.columns().to_vec();
            columns[at] = good.column(at).clone();
            let batch = RecordBatch::try_new(bad.schema(), columns).unwrap();
            let rows = Rows { batch: &batch, path: Path::new("pages.lance") };
            let error = match words {
                true => rows.pages().unwrap_err(),
                false => rows.vectors().unwrap_err(),
            };
            assert!(error.to_string().contains("#1"), "{error}");
        }
    }
}
