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
//! | `failed_pages` | utf8 | JSON: `[{"page": 3, "kind": "timeout", "reason": "..."}]`; of the kind `waiting` is a page that is in `pages` and whose words OCR is still to read |
//! | `reason` | utf8, null | why the document failed, for a person |
//! | `notes` | utf8 | JSON: `["..."]` |
//! | `title` | utf8, null | from the PDF's metadata |
//! | `model` | utf8, null | model_id of its vectors |
//! | `failure_kind` | utf8, null | kind of `reason`: `encrypted`, `timeout` and so on |
//! | `stale` | utf8, null | JSON: `{"kind": "...", "reason": "..."}`, why the file could not be read the last time, when its pages are those of what it was before |
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
//! | `page_crc32c` | uint32 | CRC32C of document, number, sizes, text_source, text and layout |
//! | `n_vectors` | uint32 | rows of `vectors`, 0 without a model and in a compact index |
//! | `vectors` | list<fixed_size_list<float16, dim>>, null | the multi-vector `[n_vectors, dim]`, unit rows |
//! | `vectors_crc32c` | uint32 | CRC32C of document, number, the vectors' bytes and the places |
//! | `places` | `list<uint32>`, null | the place of each vector in the layout; null where all are there, in order |
//! | `layout` | utf8, null | JSON: where the vectors stand on the page, see below |
//!
//! # Layouts
//!
//! `layout` is a [`PatchLayout`](pagesight_core::PatchLayout) as JSON, run after run: ColPali at
//! 448 px writes
//! `[{"patches":{"cols":32,"rows":32,"area":{"x0":0.0,"y0":0.0,"x1":1.0,"y1":1.0}}},{"text":6}]`.
//! Each page has its own, since some models see each page in its own shape. It is text and not a
//! number that refers to a list elsewhere, so that a row means the same in any table and for any
//! client. Where pages share a layout, Lance keeps it once for many rows: 17 slices, 1.6 kB of JSON,
//! take 27 bytes a page in a commit of 64 pages and 3.4 in one of 512.
//!
//! # Earlier formats
//!
//! A table of formats 1 and 2 lacks `places`: all vectors of each page are there. Tables of formats
//! 1 to 4 lack `layout`, `failure_kind` and `stale`. A writer adds the columns, null in every row,
//! and writes no row again. A page with vectors and without a layout has the one that the pointer
//! remembers for all of them (`grid`). What kind of failure an old reason is, is said by
//! [`old_failures`].
//!
//! Numbers enter a checksum as little-endian bytes, strings as UTF-8, a layout after a byte 0xFF. A
//! null layout adds nothing, so the checksums of rows of earlier formats hold.

mod checksum;
mod documents;
mod old_failures;
mod pages;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Int64Array, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Float32Type, Int64Type, UInt32Type, UInt64Type};

use crate::error::StoreError;

pub(crate) use documents::{
    documents_batch, documents_schema, new_document_columns, read_ledger, read_ledger_of,
    read_records,
};
pub(crate) use pages::{
    TEXT_COLUMNS, VECTOR_COLUMNS, new_page_columns, pages_batch, pages_batches, pages_schema,
    read_pages_of,
};

/// A batch read from the table at `path`, column by column.
pub(crate) struct Rows<'a> {
    pub batch: &'a RecordBatch,
    pub path: &'a Path,
}

impl Rows<'_> {
    fn wrong(&self, column: &'static str) -> StoreError {
        StoreError::Column { path: self.path.to_path_buf(), column }
    }

    fn column(&self, name: &'static str) -> Result<&ArrayRef, StoreError> {
        self.batch.column_by_name(name).ok_or_else(|| self.wrong(name))
    }

    fn strings(&self, name: &'static str) -> Result<&StringArray, StoreError> {
        self.column(name)?.as_string_opt::<i32>().ok_or_else(|| self.wrong(name))
    }

    /// A column that tables of earlier formats lack.
    fn later_strings(&self, name: &'static str) -> Result<Option<&StringArray>, StoreError> {
        self.batch.column_by_name(name).map(|_| self.strings(name)).transpose()
    }

    fn u32s(&self, name: &'static str) -> Result<&UInt32Array, StoreError> {
        self.column(name)?.as_primitive_opt::<UInt32Type>().ok_or_else(|| self.wrong(name))
    }

    fn u64s(&self, name: &'static str) -> Result<&UInt64Array, StoreError> {
        self.column(name)?.as_primitive_opt::<UInt64Type>().ok_or_else(|| self.wrong(name))
    }

    fn i64s(&self, name: &'static str) -> Result<&Int64Array, StoreError> {
        self.column(name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| self.wrong(name))
    }

    fn f32s(&self, name: &'static str) -> Result<&Float32Array, StoreError> {
        self.column(name)?.as_primitive_opt::<Float32Type>().ok_or_else(|| self.wrong(name))
    }
}

/// The string in `row`; `None` where it is null.
fn string_at(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, false)
}

fn optional_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn strings<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn optional_strings<S: AsRef<str>>(values: impl Iterator<Item = Option<S>>) -> ArrayRef {
    Arc::new(values.collect::<StringArray>())
}

fn numbers(values: impl Iterator<Item = u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(values))
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data becomes JSON")
}
