//! Pages as rows of the table `pages`, and back.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float16Array, Float32Array, ListArray,
    RecordBatch, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Float16Type, Schema, SchemaRef, UInt32Type};
use half::f16;
use pagesight_core::{
    DocumentId, PageId, PageRecord, PageSize, PageVectors, PatchLayout, TextSource,
};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::checksum::{checksum, page_checksum, vectors_checksum};
use super::{Rows, field, json, numbers, optional_strings, optional_text, string_at, strings};
use crate::error::StoreError;
use crate::lance::table::{LanceTable, any_of};

/// Vectors and words of one batch on its way in, bytes: what Lance gathers for a page of its own.
const BATCH_BYTES: usize = 8 << 20;

const PLACES: &str = "places";
const LAYOUT: &str = "layout";

/// What [`Rows::pages`] needs.
pub(crate) const TEXT_COLUMNS: [&str; 9] = [
    "document",
    "number",
    "width_pt",
    "height_pt",
    "text",
    "text_source",
    "page_crc32c",
    "n_vectors",
    LAYOUT,
];

/// What [`Rows::vectors`] needs.
pub(crate) const VECTOR_COLUMNS: [&str; 5] =
    ["document", "number", "vectors", "vectors_crc32c", PLACES];

fn row_field(dim: usize) -> Arc<Field> {
    let value = Arc::new(Field::new("item", DataType::Float16, true));
    Arc::new(Field::new("item", DataType::FixedSizeList(value, dim as i32), true))
}

/// An entry of a list of places.
fn place_field() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::UInt32, true))
}

/// The columns that tables of earlier formats lack.
pub(crate) fn new_page_columns() -> Vec<Field> {
    vec![Field::new(PLACES, DataType::List(place_field()), true), optional_text(LAYOUT)]
}

pub(crate) fn pages_schema(dim: usize) -> SchemaRef {
    let mut fields = vec![
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
    ];
    fields.extend(new_page_columns());
    Arc::new(Schema::new(fields))
}

/// Rows for `pages`, all vectors of `dim`.
pub(crate) fn pages_batch(dim: usize, pages: &[PageRecord]) -> RecordBatch {
    let ids: Vec<String> = pages.iter().map(|p| p.id.document.to_string()).collect();
    let layouts: Vec<Option<String>> = pages.iter().map(|p| p.layout.as_ref().map(json)).collect();
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
        numbers(pages.iter().zip(&layouts).map(|(p, layout)| page_checksum(p, layout.as_deref()))),
        numbers(pages.iter().map(|p| count(p) as u32)),
        Arc::new(vectors),
        numbers(pages.iter().map(|p| vectors_checksum(p.id, p.vectors.as_ref()))),
        places_column(pages.iter().map(|p| p.vectors.as_ref().and_then(PageVectors::places))),
        optional_strings(layouts.iter().map(Option::as_deref)),
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

impl Rows<'_> {
    pub fn ids(&self) -> Result<Vec<PageId>, StoreError> {
        let (document, number) = (self.strings("document")?, self.u32s("number")?);
        (0..self.batch.num_rows())
            .map(|row| {
                let document = document.value(row).parse().map_err(|_| self.wrong("document"))?;
                Ok(PageId { document, number: number.value(row) })
            })
            .collect()
    }

    fn damaged(&self, id: PageId, what: impl Into<String>) -> StoreError {
        StoreError::DamagedPage { path: self.path.to_path_buf(), page: id, what: what.into() }
    }

    /// Size, words and layout of each page, checked; `vectors` stay `None`.
    pub fn pages(&self) -> Result<Vec<PageRecord>, StoreError> {
        let (width, height) = (self.f32s("width_pt")?, self.f32s("height_pt")?);
        let (text, source) = (self.strings("text")?, self.strings("text_source")?);
        let (checksum, layout) = (self.u32s("page_crc32c")?, self.later_strings(LAYOUT)?);
        // Neighbours mostly share a layout: it is parsed once.
        let mut last: Option<(&str, PatchLayout)> = None;
        let page = |(row, id): (usize, PageId)| {
            let size = PageSize { width_pt: width.value(row), height_pt: height.value(row) };
            let text_source = TextSource::parse(source.value(row));
            let text_source = text_source.ok_or_else(|| self.damaged(id, "its text source"))?;
            let text = text.value(row).to_string();
            let mut page = PageRecord { id, size, text, text_source, vectors: None, layout: None };
            let layout = layout.and_then(|layout| string_at(layout, row));
            if page_checksum(&page, layout) != checksum.value(row) {
                return Err(self.damaged(id, "the checksum of its words is wrong"));
            }
            if let Some(json) = layout {
                if last.as_ref().is_none_or(|(before, _)| *before != json) {
                    let layout = serde_json::from_str(json);
                    let layout = layout.map_err(|_| self.damaged(id, "its layout"))?;
                    last = Some((json, layout));
                }
                page.layout = last.as_ref().map(|(_, layout)| layout.clone());
            }
            Ok(page)
        };
        self.ids()?.into_iter().enumerate().map(page).collect()
    }

    /// Which of the pages have vectors in the table.
    pub fn with_vectors(&self) -> Result<HashSet<PageId>, StoreError> {
        let count = self.u32s("n_vectors")?;
        let ids = self.ids()?.into_iter().enumerate();
        Ok(ids.filter(|&(row, _)| count.value(row) > 0).map(|(_, id)| id).collect())
    }

    /// Which pages the rows are, and their row ids. A row whose document is damaged is left out:
    /// who asks for its page learns that it is not there.
    pub fn row_ids(&self) -> Result<Vec<(PageId, u64)>, StoreError> {
        let (document, number) = (self.strings("document")?, self.u32s("number")?);
        let row_ids = self.u64s("_rowid")?;
        let row_id = |row| {
            let document = document.value(row).parse().ok()?;
            Some((PageId { document, number: number.value(row) }, row_ids.value(row)))
        };
        Ok((0..self.batch.num_rows()).filter_map(row_id).collect())
    }

    /// Each page by itself, whole and checked.
    pub fn every_page(&self) -> Vec<Result<PageRecord, StoreError>> {
        let page = |row| {
            let batch = self.batch.slice(row, 1);
            let one = Rows { batch: &batch, path: self.path };
            let mut page = one.pages()?.remove(0);
            page.vectors = one.vectors()?.pop().map(|(_, vectors)| vectors);
            let count = page.vectors.as_ref().map_or(0, PageVectors::len);
            if one.u32s("n_vectors")?.value(0) as usize != count {
                return Err(self.damaged(page.id, "the count of its vectors is wrong"));
            }
            Ok(page)
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
        let sums = self.u32s("vectors_crc32c")?;
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
                if sum(&[]) != sums.value(row) {
                    return Err(self.damaged(id, "its vectors are gone"));
                }
                return Ok(None);
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

/// The pages of `documents` in `table`: sizes, words and layouts.
///
/// # Errors
/// When one cannot be read or its checksum is wrong.
pub(crate) async fn read_pages_of(
    table: &LanceTable,
    documents: &HashSet<DocumentId>,
) -> Result<Vec<PageRecord>, StoreError> {
    let mut pages = Vec::new();
    for filter in any_of("document", documents.iter().map(ToString::to_string)) {
        for batch in table.read_all(&TEXT_COLUMNS, Some(filter)).await? {
            pages.extend(Rows { batch: &batch, path: &table.path }.pages()?);
        }
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pagesight_core::testing::page_record;

    use super::*;

    #[test]
    fn pages_come_back_as_they_went() {
        let (id, path) = (DocumentId::of(b"x"), Path::new("pages.lance"));
        let page = page_record(id, 1, "words", Some((2, &[1.0, 0.0, 0.6, 0.8])));
        let plain = page_record(id, 2, "", None);
        let mut pruned = page_record(id, 3, "words", Some((2, &[0.0, 1.0])));
        pruned.vectors = pruned.vectors.map(|vectors| vectors.with_places(vec![6_149]).unwrap());
        let slices = "1x1+3x2".parse().unwrap();
        pruned.layout = Some(PatchLayout::slices(&slices, 32, 6));
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

        let counted = pages.iter().filter(|page| page.vectors.is_some()).map(|page| page.id);
        assert_eq!(rows.with_vectors().unwrap(), counted.collect::<HashSet<_>>());

        // Formats 1 and 2 lack the last two columns, formats 3 and 4 the last; a writer that adds
        // them changes no checksum.
        let old = pages.map(|page| PageRecord { layout: None, ..page });
        let whole = pages_batch(2, &old);
        for (missing, count) in [(2, 2), (1, 3), (0, 3)] {
            let kept: Vec<usize> = (0..whole.num_columns() - missing).collect();
            let batch = whole.project(&kept).unwrap().slice(0, count);
            let rows = Rows { batch: &batch, path };
            let every: Result<Vec<_>, _> = rows.every_page().into_iter().collect();
            assert_eq!(every.unwrap(), old[..count]);
        }
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
        let mut laid = page.clone();
        laid.layout = Some(PatchLayout::grid(1, 2));
        let mut bare = page.clone();
        bare.layout = None;
        let good = pages_batch(2, &[page]);
        // The content of one row under the checksums of the other.
        for (bad, name, words) in [
            (&other, "page_crc32c", true),
            (&laid, "page_crc32c", true),
            (&bare, "page_crc32c", true),
            (&other, "vectors_crc32c", false),
            (&moved, "vectors_crc32c", false),
        ] {
            let bad = pages_batch(2, std::slice::from_ref(bad));
            let at = bad.schema().index_of(name).unwrap();
            let mut columns = bad.columns().to_vec();
            columns[at] = good.column(at).clone();
            let batch = RecordBatch::try_new(bad.schema(), columns).unwrap();
            let rows = Rows { batch: &batch, path: Path::new("pages.lance") };
            let error = if words { rows.pages().unwrap_err() } else { rows.vectors().unwrap_err() };
            assert!(error.to_string().contains("#1"), "{error}");
        }
    }
}
