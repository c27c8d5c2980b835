//! One search, from question to ranked pages.

use std::time::{Duration, Instant};

use pagesight_core::seam::{BoxError, DocumentFilter, QueryEncoder, TextIndex, VectorSource};
use pagesight_core::{Hit, PageId, QueryVectors};
use pagesight_maxsim::{DimMismatch, PreparedQuery};
use rayon::prelude::*;

use crate::fuse;

/// What looks at a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Channel {
    /// The picture: MaxSim.
    Visual,
    /// The words: BM25.
    Text,
    /// Both, fused.
    #[default]
    Both,
}

/// What a search runs on. All of one snapshot.
pub struct Channels<'a> {
    /// The stored multi-vectors.
    pub vectors: &'a dyn VectorSource,
    /// The model; without one there is no visual channel.
    pub encoder: Option<&'a dyn QueryEncoder>,
    /// The words.
    pub text: &'a dyn TextIndex,
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What the user typed.
    pub query: &'a str,
    /// Which channels to ask.
    pub channel: Channel,
    /// How many hits to return.
    pub k: usize,
    /// How deep each channel looks before fusion; at least `k` is used.
    pub depth: usize,
    /// Only pages of these documents.
    pub documents: DocumentFilter<'a>,
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timings {
    /// Query to vectors.
    pub encode: Duration,
    /// Reading and scoring multi-vectors.
    pub visual: Duration,
    /// BM25.
    pub text: Duration,
}

/// Ranked pages.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// Best first.
    pub hits: Vec<Hit>,
    /// Where the time went.
    pub timings: Timings,
    /// Pages that the visual channel scored.
    pub pages_scored: usize,
    /// The visual channel was asked.
    pub visual: bool,
    /// The text channel was asked.
    pub text: bool,
}

/// Why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The visual channel was asked for and there is no model.
    #[error("the visual channel needs a model and none is loaded")]
    NoModel,
    /// The model could not encode the query.
    #[error("the query could not be encoded")]
    Encode(#[source] BoxError),
    /// Stored vectors could not be read.
    #[error("the stored vectors could not be read")]
    Vectors(#[source] BoxError),
    /// The words could not be read.
    #[error("the text index could not be read")]
    Text(#[source] BoxError),
    /// The model and the index do not belong together.
    #[error("the model does not fit the stored vectors")]
    Dim(#[from] DimMismatch),
}

/// Answers `request`. With [`Channel::Both`] and no model, the words alone answer.
///
/// # Errors
/// [`QueryError`]; never a partial ranking as if whole.
///
/// ```
/// use pagesight_core::seam::{Batch, PageSink};
/// use pagesight_core::testing::{FakeStore, document_record, page_record};
/// use pagesight_core::DocumentId;
/// use pagesight_query::{Channel, Channels, Request, search};
///
/// let mut store = FakeStore::default();
/// let id = DocumentId::of(b"a");
/// store.commit(Batch {
///     documents: vec![document_record("a.pdf", id, 1)],
///     pages: vec![page_record(id, 1, "net revenue by region", None)],
///     ..Batch::default()
/// })?;
/// let channels = Channels { vectors: &store, encoder: None, text: &store };
/// let request =
///     Request { query: "revenue", channel: Channel::Both, k: 10, depth: 100, documents: None };
/// assert_eq!(search(&channels, &request)?.hits[0].page.number, 1);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn search(channels: &Channels<'_>, request: &Request<'_>) -> Result<Ranking, QueryError> {
    let depth = request.depth.max(request.k);
    let mut timings = Timings::default();
    let mut pages_scored = 0;
    let visual = match (request.channel, channels.encoder) {
        (Channel::Text, _) | (Channel::Both, None) => None,
        (Channel::Visual, None) => return Err(QueryError::NoModel),
        (_, Some(encoder)) => {
            let query = timed(&mut timings.encode, || encode(encoder, request.query))?;
            let (ranking, scored) = timed(&mut timings.visual, || {
                rank_by_maxsim(channels.vectors, &query, depth, request.documents)
            })?;
            pages_scored = scored;
            Some(ranking)
        }
    };
    let text = match request.channel {
        Channel::Visual => None,
        Channel::Text | Channel::Both => Some(timed(&mut timings.text, || {
            channels
                .text
                .search_text(request.query, depth, request.documents)
                .map_err(QueryError::Text)
        })?),
    };
    let mut hits = fuse(visual.as_deref(), text.as_deref());
    hits.truncate(request.k);
    Ok(Ranking { hits, timings, pages_scored, visual: visual.is_some(), text: text.is_some() })
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

fn encode(encoder: &dyn QueryEncoder, query: &str) -> Result<QueryVectors, QueryError> {
    let mut vectors = encoder.encode_queries(&[query]).map_err(QueryError::Encode)?;
    vectors.pop().ok_or_else(|| QueryError::Encode("the encoder gave nothing back".into()))
}

/// The `depth` best pages by exact MaxSim, ties by [`PageId`], and how many were scored.
fn rank_by_maxsim(
    source: &dyn VectorSource,
    query: &QueryVectors,
    depth: usize,
    documents: DocumentFilter<'_>,
) -> Result<(Vec<(PageId, f32)>, usize), QueryError> {
    let prepared = PreparedQuery::new(query);
    let mut best: Vec<(PageId, f32)> = Vec::new();
    let mut scored = 0;
    let mut mismatch = None;
    source
        .scan(documents, &mut |pages| {
            let scores: Result<Vec<_>, DimMismatch> =
                pages.par_iter().map(|(id, page)| Ok((*id, prepared.score(page)?))).collect();
            match scores {
                Ok(scores) => {
                    scored += scores.len();
                    best.extend(scores);
                    best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                    best.truncate(depth);
                }
                Err(error) => mismatch = Some(error),
            }
        })
        .map_err(QueryError::Vectors)?;
    match mismatch {
        Some(error) => Err(error.into()),
        None => Ok((best, scored)),
    }
}

#[cfg(test)]
mod tests {
    use pagesight_core::seam::{Batch, PageSink};
    use pagesight_core::testing::{FakeEncoder, FakeStore, document_record, page_record};
    use pagesight_core::{DocumentId, Slices};

    use super::*;

    fn store() -> (FakeStore, DocumentId) {
        let mut store = FakeStore::default();
        let id = DocumentId::of(b"doc");
        let row = |seed: f32| [seed, 1.0 - seed, 0.3, 0.2];
        let pages = (1..=7)
            .map(|n| {
                let vectors = row(n as f32 / 7.0);
                page_record(id, n, &format!("page number{n} words"), Some((4, &vectors)))
            })
            .collect();
        let documents = vec![document_record("doc.pdf", id, 7)];
        store.commit(Batch { documents, pages, ..Batch::default() }).unwrap();
        (store, id)
    }

    fn ask<'a>(channel: Channel, k: usize, documents: DocumentFilter<'a>) -> Request<'a> {
        Request { query: "number3 words", channel, k, depth: 100, documents }
    }

    #[test]
    fn the_visual_ranking_is_the_brute_force_ranking() {
        let (store, _) = store();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels = Channels { vectors: &store, encoder: Some(&encoder), text: &store };
        let ranking = search(&channels, &ask(Channel::Visual, 3, None)).unwrap();
        let query = &encoder.encode_queries(&["number3 words"]).unwrap()[0];
        let mut expected: Vec<(PageId, f64)> = store
            .pages()
            .iter()
            .map(|page| {
                let rows: Vec<f32> =
                    page.vectors.as_ref().unwrap().values().iter().map(|v| v.to_f32()).collect();
                (page.id, pagesight_maxsim::maxsim_reference(4, query.values(), &rows))
            })
            .collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        let got: Vec<PageId> = ranking.hits.iter().map(|h| h.page).collect();
        let expected: Vec<PageId> = expected.iter().take(3).map(|e| e.0).collect();
        assert_eq!(got, expected);
        assert_eq!(ranking.pages_scored, 7);
    }

    #[test]
    fn both_channels_show_in_a_fused_hit() {
        let (store, _) = store();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels = Channels { vectors: &store, encoder: Some(&encoder), text: &store };
        let ranking = search(&channels, &ask(Channel::Both, 10, None)).unwrap();
        assert!(ranking.hits.iter().all(|h| h.visual.is_some() && h.text.is_some()));
        let third = ranking.hits.iter().find(|h| h.page.number == 3).unwrap();
        assert_eq!(third.text.unwrap().rank, 1);
    }

    #[test]
    fn without_a_model_words_answer_and_the_visual_channel_says_so() {
        let (store, _) = store();
        let channels = Channels { vectors: &store, encoder: None, text: &store };
        let ranking = search(&channels, &ask(Channel::Both, 1, None)).unwrap();
        assert_eq!((ranking.hits[0].page.number, ranking.visual), (3, false));
        let error = search(&channels, &ask(Channel::Visual, 1, None)).unwrap_err();
        assert!(matches!(error, QueryError::NoModel));
    }

    #[test]
    fn a_filter_holds_in_both_channels() {
        let (store, _) = store();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels = Channels { vectors: &store, encoder: Some(&encoder), text: &store };
        let none = std::collections::HashSet::from([DocumentId::of(b"another")]);
        assert!(search(&channels, &ask(Channel::Both, 9, Some(&none))).unwrap().hits.is_empty());
    }

    #[test]
    fn a_model_of_another_dim_is_refused() {
        let (mut store, id) = store();
        let pages = vec![page_record(id, 8, "", Some((2, &[1.0, 0.0])))];
        store.commit(Batch { pages, ..Batch::default() }).unwrap();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels = Channels { vectors: &store, encoder: Some(&encoder), text: &store };
        let error = search(&channels, &ask(Channel::Visual, 3, None)).unwrap_err();
        assert!(matches!(error, QueryError::Dim(DimMismatch { query: 4, page: 2 })));
    }
}
