//! A fake and a contract suite for each seam. The suites panic where a contract is broken, so
//! an adapter's test is one call.

mod passages;
mod reading;

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::seam::{
    Batch, BoxError, DocumentFilter, Model, PageEncoder, PageSink, QueryEncoder, TextIndex,
    VectorSource, Visit,
};
use crate::{
    DocumentId, DocumentRecord, DocumentStatus, EncodedPage, Found, ModelId, ModelRecord, PageId,
    PageImage, PageRecord, PageSize, PageVectors, PatchLayout, PictureSize, QueryToken,
    QueryVectors, Scale, Slices, TextSource,
};

pub use passages::{FakePassageEncoder, passage_encoder_contract};
pub use reading::{FakeOcr, FakePdfReader, PdfSample, ocr_contract, pdf_reader_contract};

/// A ledger record for tests: `path`, all `pages` indexed.
pub fn document_record(path: &str, document: DocumentId, pages: u32) -> DocumentRecord {
    DocumentRecord {
        path: path.to_string(),
        document: Some(document),
        bytes: 1,
        modified_ns: 0,
        status: DocumentStatus::Ok,
        page_count: pages,
        pages_indexed: pages,
        next_page: pages + 1,
        failed_pages: Vec::new(),
        waiting_pages: Vec::new(),
        failure: None,
        stale: None,
        notes: Vec::new(),
        title: None,
        model: None,
    }
}

/// An A4 page with `text` and, when `vectors` are given, rows of `dim`.
pub fn page_record(
    document: DocumentId,
    number: u32,
    text: &str,
    vectors: Option<(usize, &[f32])>,
) -> PageRecord {
    let vectors = vectors.map(|(dim, v)| PageVectors::from_f32(dim, v).expect("finite whole rows"));
    PageRecord {
        id: PageId { document, number },
        size: PageSize { width_pt: 595.0, height_pt: 842.0 },
        text: text.to_string(),
        text_source: TextSource::Layer,
        layout: vectors.as_ref().map(|vectors| PatchLayout::grid(vectors.len() as u32, 1)),
        vectors,
    }
}

/// A store in memory: sink, vectors and words at once. Clones share their content.
#[derive(Debug, Clone, Default)]
pub struct FakeStore(Arc<Mutex<FakeState>>);

#[derive(Debug, Default)]
struct FakeState {
    documents: BTreeMap<String, DocumentRecord>,
    pages: BTreeMap<PageId, PageRecord>,
    commits: usize,
}

impl FakeStore {
    /// The pages that are there, by id.
    pub fn pages(&self) -> Vec<PageRecord> {
        self.0.lock().expect("no panic under the lock").pages.values().cloned().collect()
    }

    /// How often [`commit`](PageSink::commit) was called.
    pub fn commits(&self) -> usize {
        self.0.lock().expect("no panic under the lock").commits
    }
}

impl PageSink for FakeStore {
    fn documents(&mut self) -> Result<Vec<DocumentRecord>, BoxError> {
        Ok(self.0.lock().expect("no panic under the lock").documents.values().cloned().collect())
    }

    fn commit(&mut self, batch: Batch) -> Result<(), BoxError> {
        let mut state = self.0.lock().expect("no panic under the lock");
        state.commits += 1;
        for document in batch.dropped_pages {
            state.pages.retain(|id, _| id.document != document);
        }
        for path in batch.dropped_paths {
            state.documents.remove(&path);
        }
        for record in batch.documents {
            state.documents.insert(record.path.clone(), record);
        }
        for page in batch.pages {
            state.pages.insert(page.id, page);
        }
        for page in batch.words {
            if let Some(stored) = state.pages.get_mut(&page.id) {
                let (vectors, layout) = (stored.vectors.take(), stored.layout.take());
                *stored = PageRecord { vectors, layout, ..page };
            }
        }
        let alive: HashSet<_> = state.documents.values().filter_map(|d| d.document).collect();
        state.pages.retain(|id, _| alive.contains(&id.document));
        Ok(())
    }
}

impl VectorSource for FakeStore {
    fn scan(&self, filter: DocumentFilter<'_>, visit: Visit<'_>) -> Result<(), BoxError> {
        for page in self.pages() {
            if let Some(vectors) = page.vectors
                && filter.is_none_or(|f| f.contains(&page.id.document))
            {
                visit(&[(page.id, vectors)]);
            }
        }
        Ok(())
    }
}

impl TextIndex for FakeStore {
    fn wordless(&self, pages: &[PageId]) -> Result<HashSet<PageId>, BoxError> {
        let bare = self.pages().into_iter().filter(|page| page.text.is_empty());
        Ok(bare.map(|page| page.id).filter(|id| pages.contains(id)).collect())
    }

    /// Counts query words on the page: not BM25, but the same contract.
    fn search_text(
        &self,
        query: &str,
        k: usize,
        filter: DocumentFilter<'_>,
    ) -> Result<Found, BoxError> {
        let query = query.to_lowercase();
        let words: HashSet<&str> = query.split_whitespace().collect();
        let mut pages = self.pages();
        pages.retain(|page| filter.is_none_or(|f| f.contains(&page.id.document)));
        let mut found: Vec<(PageId, f32)> = pages
            .iter()
            .map(|page| {
                let text = page.text.to_lowercase();
                let count = text.split_whitespace().filter(|w| words.contains(w)).count();
                (page.id, count as f32)
            })
            .filter(|&(_, score)| score > 0.0)
            .collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let scores = found.iter().map(|(_, score)| *score);
        let scale = Scale::of(scores, pages.len(), words.len() as f32);
        found.truncate(k);
        Ok(Found { pages: found, scale })
    }
}

/// An encoder without weights: pages become the mean colour of each quarter of each slice, a
/// query one vector a word. Real arithmetic on real input, so equal pages are equal and
/// different pages differ; no meaning.
#[derive(Debug, Clone)]
pub struct FakeEncoder {
    model: ModelId,
    edge_px: u32,
    slices: Slices,
    encoded: Arc<AtomicU64>,
}

impl FakeEncoder {
    /// An encoder of `slices`, each `edge_px` square (even).
    pub fn new(edge_px: u32, slices: Slices) -> Self {
        let model = ModelId(format!("fake-{edge_px}-{slices}"));
        Self { model, edge_px, slices, encoded: Arc::default() }
    }

    /// How many pages were encoded by it and its clones.
    pub fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }

    fn size(&self) -> PictureSize {
        PictureSize {
            width_px: self.edge_px * self.slices.cols(),
            height_px: self.edge_px * self.slices.rows(),
        }
    }
}

fn unit(mut row: [f32; 4]) -> [f32; 4] {
    let length = row.iter().map(|v| v * v).sum::<f32>().sqrt();
    row.iter_mut().for_each(|v| *v /= length);
    row
}

impl PageEncoder for FakeEncoder {
    fn model_id(&self) -> &ModelId {
        &self.model
    }

    fn dim(&self) -> usize {
        4
    }

    fn picture(&self, _: PageSize) -> PictureSize {
        self.size()
    }

    fn encode_pages(&self, pages: &[PageImage]) -> Result<Vec<EncodedPage>, BoxError> {
        self.encoded.fetch_add(pages.len() as u64, Ordering::Relaxed);
        let PictureSize { width_px: width, height_px: height } = self.size();
        let quarter = self.edge_px / 2;
        let layout = PatchLayout::grid(2 * self.slices.cols(), 2 * self.slices.rows());
        pages
            .iter()
            .map(|page| {
                if (page.width_px(), page.height_px()) != (width, height) {
                    let got = (page.width_px(), page.height_px());
                    return Err(format!("expected {width} x {height} px, got {got:?}").into());
                }
                let mut rows = Vec::new();
                for y in (0..height).step_by(quarter as usize) {
                    for x in (0..width).step_by(quarter as usize) {
                        let part = page.crop(x, y, quarter, quarter);
                        let mut row = [0.0, 0.0, 0.0, 1.0];
                        for pixel in part.rgb().chunks_exact(3) {
                            for (sum, &value) in row.iter_mut().zip(pixel) {
                                *sum += f32::from(value) / 255.0 / (quarter * quarter) as f32;
                            }
                        }
                        rows.extend(unit(row));
                    }
                }
                Ok(EncodedPage::new(PageVectors::from_f32(4, &rows)?, layout.clone())?)
            })
            .collect()
    }
}

impl Model for FakeEncoder {
    fn record(&self) -> ModelRecord {
        ModelRecord::new(self.model.clone(), 4)
    }
}

impl QueryEncoder for FakeEncoder {
    fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
        queries
            .iter()
            .map(|query| {
                let words = query.split_whitespace().map(|word| {
                    let start = word.as_ptr().addr() - query.as_ptr().addr();
                    QueryToken::of(word, start..start + word.len())
                });
                let tokens: Vec<QueryToken> =
                    [QueryToken::special("<bos>")].into_iter().chain(words).collect();
                let rows = tokens
                    .iter()
                    .flat_map(|token| {
                        let hash = DocumentId::of(token.text.as_bytes()).0;
                        unit([0, 1, 2, 3].map(|i| 1.0 + f32::from(hash[i])))
                    })
                    .collect();
                Ok(QueryVectors::new(4, rows, tokens)?)
            })
            .collect()
    }
}

/// The promises of [`PageEncoder`], checked on generated pictures.
///
/// # Panics
/// Where the contract is broken.
pub fn page_encoder_contract(encoder: &dyn PageEncoder) {
    let a4 = PageSize { width_pt: 595.0, height_pt: 842.0 };
    let PictureSize { width_px: width, height_px: height } = encoder.picture(a4);
    let picture = |seed: u32| {
        let bytes = (0..width * height * 3).map(|i| (i.wrapping_mul(seed) >> 3) as u8).collect();
        PageImage::new(width, height, bytes).expect("the size fits")
    };
    let pages = [picture(3), picture(77), picture(3)];
    let together = encoder.encode_pages(&pages).expect("valid pictures encode");
    assert_eq!(together.len(), pages.len(), "as many multi-vectors as pages");
    assert_eq!(together[0], together[2], "equal pages, equal vectors");
    assert_ne!(together[0], together[1], "different pages differ");
    for (page, expected) in pages.iter().zip(&together) {
        let alone = encoder.encode_pages(std::slice::from_ref(page)).expect("one page encodes");
        assert_eq!(&alone[0], expected, "the same alone and in a batch");
        let vectors = expected.vectors();
        assert_eq!(vectors.dim(), encoder.dim());
        vectors.check_unit().expect("rows have length 1");
        expected.layout().check(vectors).expect("the layout is that of the page");
    }
    assert!(encoder.encode_pages(&[]).expect("an empty batch is fine").is_empty());
    // Models that keep a page's shape ask for other widths of other pages, but never for a longer
    // side than the longest of this page.
    let wrong = PageImage::new(width, height + 1, vec![0; (width * (height + 1) * 3) as usize]);
    let wrong = wrong.expect("the size fits");
    assert!(encoder.encode_pages(&[wrong]).is_err(), "another size is an error");
}

/// The promises of [`QueryEncoder`].
///
/// # Panics
/// Where the contract is broken.
pub fn query_encoder_contract(encoder: &dyn QueryEncoder) {
    let queries = ["page 3", "What is the total revenue in 2024?", "page 3", ""];
    let together = encoder.encode_queries(&queries).expect("any string is a query");
    assert_eq!(together.len(), queries.len());
    assert_eq!(together[0], together[2], "equal queries, equal vectors");
    for (query, expected) in queries.iter().zip(&together) {
        let alone = encoder.encode_queries(&[query]).expect("one query encodes");
        assert_eq!(alone[0].tokens(), expected.tokens());
        for token in expected.tokens() {
            let spans = token.span.clone();
            assert!(spans.is_none_or(|span| query.get(span).is_some()), "{token:?} of {query:?}");
        }
        let worst = alone[0]
            .values()
            .iter()
            .zip(expected.values())
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(worst < 1e-5, "the same alone and in a padded batch, differs by {worst}");
    }
}

/// The promises of [`PageSink`], [`VectorSource`] and [`TextIndex`] together, on a store that
/// starts empty and takes vectors of dim 2. `reader` opens the latest snapshot.
///
/// # Panics
/// Where a contract is broken.
pub fn store_contract<S, R>(mut sink: S, reader: impl Fn(&mut S) -> R)
where
    S: PageSink,
    R: VectorSource + TextIndex,
{
    let [apple, pear] = [DocumentId::of(b"apple"), DocumentId::of(b"pear")];
    let seen = |reader: &R, filter: DocumentFilter<'_>| {
        let mut seen = BTreeMap::new();
        reader
            .scan(filter, &mut |batch| {
                for (id, vectors) in batch {
                    assert!(seen.insert(*id, vectors.clone()).is_none(), "{id} comes once");
                }
            })
            .expect("a sound store scans");
        seen
    };
    let found = |reader: &R, query: &str, filter: DocumentFilter<'_>| -> Vec<PageId> {
        let found = reader.search_text(query, 10, filter).expect("any string is a query");
        let (hits, scale) = (found.pages, found.scale);
        assert!(scale.pages >= hits.len() && hits.iter().all(|hit| hit.1 <= scale.most), "a scale");
        assert!(hits.first().is_none_or(|best| best.1 >= scale.mean), "the best is no less");
        assert!(hits.windows(2).all(|w| w[0].1 >= w[1].1), "best first");
        hits.into_iter().map(|(id, _)| id).collect()
    };
    let page = |document, number| PageId { document, number };

    assert!(sink.documents().expect("an empty store reads").is_empty());
    assert!(found(&reader(&mut sink), "orchard", None).is_empty());
    assert!(seen(&reader(&mut sink), None).is_empty());

    sink.commit(Batch {
        documents: vec![document_record("a.pdf", apple, 2), document_record("p.pdf", pear, 1)],
        pages: vec![
            page_record(apple, 1, "orchard apples fall", Some((2, &[1.0, 0.0, 0.0, 1.0]))),
            page_record(apple, 2, "cider press", Some((2, &[0.6, 0.8]))),
            page_record(pear, 1, "orchard pears ripen slowly", None),
        ],
        ..Batch::default()
    })
    .expect("a valid batch commits");
    let before = reader(&mut sink);
    assert_eq!(sink.documents().expect("reads").len(), 2);
    assert_eq!(found(&before, "cider", None), [page(apple, 2)]);
    assert_eq!(found(&before, "orchard", None).len(), 2);
    assert!(found(&before, "", None).is_empty() && found(&before, "?!", None).is_empty());
    assert_eq!(seen(&before, None).len(), 2, "a page without vectors is not scanned");
    assert_eq!(seen(&before, None)[&page(apple, 1)].len(), 2);
    let only_pear = HashSet::from([pear]);
    assert_eq!(found(&before, "orchard", Some(&only_pear)), [page(pear, 1)]);
    assert!(seen(&before, Some(&only_pear)).is_empty());

    // A rename keeps the pages; dropping the last path of a document drops them.
    sink.commit(Batch {
        documents: vec![document_record("b.pdf", apple, 2)],
        dropped_paths: vec!["a.pdf".into(), "p.pdf".into()],
        ..Batch::default()
    })
    .expect("a rename commits");
    let after = reader(&mut sink);
    assert_eq!(found(&after, "orchard", None), [page(apple, 1)]);
    assert_eq!(seen(&after, None).len(), 2);
    let paths: Vec<_> = sink.documents().expect("reads").into_iter().map(|d| d.path).collect();
    assert_eq!(paths, ["b.pdf"]);

    // Other words leave the vectors, and make no page that is not there.
    sink.commit(Batch {
        words: vec![
            page_record(apple, 2, "windfall in the meadow", None),
            page_record(apple, 3, "windfall of no page", None),
            page_record(pear, 1, "windfall of no document", None),
        ],
        ..Batch::default()
    })
    .expect("other words commit");
    let reworded = reader(&mut sink);
    assert_eq!(found(&reworded, "windfall", None), [page(apple, 2)]);
    assert!(found(&reworded, "cider", None).is_empty());
    assert_eq!(seen(&reworded, None), seen(&after, None));

    // A re-index replaces every page of a document.
    sink.commit(Batch {
        documents: vec![document_record("b.pdf", apple, 1)],
        dropped_pages: vec![apple],
        pages: vec![page_record(apple, 1, "cider again", Some((2, &[0.0, 1.0])))],
        ..Batch::default()
    })
    .expect("a re-index commits");
    let last = reader(&mut sink);
    assert_eq!(found(&last, "cider", None), [page(apple, 1)]);
    assert!(found(&last, "orchard", None).is_empty());
    assert_eq!(seen(&last, None).len(), 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fake_store_keeps_the_contract() {
        store_contract(FakeStore::default(), |store| store.clone());
    }

    #[test]
    fn the_fake_encoder_keeps_the_contract() {
        let encoder = FakeEncoder::new(8, Slices::grid(2, 1));
        page_encoder_contract(&encoder);
        query_encoder_contract(&encoder);
    }
}
