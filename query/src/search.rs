//! One search, from question to ranked pages.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use pagesight_core::seam::{BoxError, DocumentFilter, QueryEncoder, TextIndex, VectorSource};
use pagesight_core::{Hit, PageId, QueryVectors, phrases};
use pagesight_maxsim::{DimMismatch, Segments};

use crate::candidates::{CodesError, Depth, Shortcut, Work, rank_by_codes, rank_by_masters};
use crate::explain::{TokenMatch, explain};
use crate::{Fusion, Visual, fuse};

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
    /// Codes of all of them; without, the multi-vectors themselves are scanned.
    pub codes: Option<&'a Segments>,
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
    /// How deep each channel looks before fusion; at least `k` is used. The first `k` ranks of the
    /// visual channel are exact, those after them, which only fusion sees, in the order of codes.
    pub depth: usize,
    /// Only pages of these documents.
    pub documents: DocumentFilter<'a>,
    /// Say what of each hit answers each query token.
    pub explain: bool,
    /// Whether the visual ranking may be approximate.
    pub shortcut: Shortcut,
    /// How far the pictures are to be trusted beside words.
    pub fusion: Fusion,
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
    /// What the visual channel did.
    pub work: Work,
    /// For each hit, what answers each query token; empty unless asked for.
    pub matches: Vec<Vec<TokenMatch>>,
    /// Why the codes did not answer, one line; the ranking is exact all the same.
    pub notice: Option<String>,
    /// The visual channel was asked.
    pub visual: bool,
    /// The text channel was asked.
    pub text: bool,
    /// Words alone answered, though both channels were asked: the model has no pieces for most of the
    /// query's letters.
    pub words_alone: bool,
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

/// Answers `request`. With [`Channel::Both`] the words alone answer where there is no model, and where
/// most of the query is in letters that the model has no pieces for: it cannot see what is asked, so
/// its ranking says nothing of any page. Pages without what the query has in quotation marks are left
/// out of both channels.
///
/// # Errors
/// [`QueryError`]; never a partial ranking as if whole.
///
/// ```
/// use pagesight_core::seam::{Batch, PageSink};
/// use pagesight_core::testing::{FakeStore, document_record, page_record};
/// use pagesight_core::DocumentId;
/// use pagesight_query::{Channel, Channels, Fusion, Request, Shortcut, search};
///
/// let mut store = FakeStore::default();
/// let id = DocumentId::of(b"a");
/// store.commit(Batch {
///     documents: vec![document_record("a.pdf", id, 1)],
///     pages: vec![page_record(id, 1, "net revenue by region", None)],
///     ..Batch::default()
/// })?;
/// let channels = Channels { vectors: &store, codes: None, encoder: None, text: &store };
/// let request = Request {
///     query: "revenue",
///     channel: Channel::Both,
///     k: 10,
///     depth: 100,
///     documents: None,
///     explain: false,
///     shortcut: Shortcut::Auto,
///     fusion: Fusion::default(),
/// };
/// assert_eq!(search(&channels, &request)?.hits[0].page.number, 1);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn search(channels: &Channels<'_>, request: &Request<'_>) -> Result<Ranking, QueryError> {
    let depth = request.depth.max(request.k);
    let mut timings = Timings::default();
    let (mut work, mut notice) = (Work::default(), None);
    let query = match (request.channel, channels.encoder) {
        (Channel::Text, _) | (Channel::Both, None) => None,
        (Channel::Visual, None) => return Err(QueryError::NoModel),
        (_, Some(encoder)) => Some(timed(&mut timings.encode, || encode(encoder, request.query))?),
    };
    let visual = match &query {
        None => None,
        Some(query) => {
            // Below the last hit nothing is fused with one channel alone.
            let pages = if request.channel == Channel::Visual { request.k } else { depth };
            let depth = Depth { pages, certain: request.k };
            let (ranking, done, why) =
                timed(&mut timings.visual, || rank_by_pictures(channels, query, depth, request))?;
            (work, notice) = (done, why);
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
    // What a model sees of letters that it has no pieces for is no vote, for no page.
    let words_alone = text.is_some() && query.as_ref().is_some_and(is_spelled_in_bytes);
    let voting = match (&visual, &text) {
        (Some(_), Some(_)) if words_alone => None,
        // What is quoted is required, and words alone can say that it is there.
        (Some(ranking), Some(text)) if !phrases(request.query).is_empty() => {
            let has_it: HashSet<PageId> = text.iter().map(|(page, _)| *page).collect();
            Some(ranking.iter().filter(|(page, _)| has_it.contains(page)).copied().collect())
        }
        (visual, _) => visual.clone(),
    };
    let wordless = match (&voting, &text) {
        (Some(visual), Some(_)) => {
            let pages: Vec<PageId> = visual.iter().map(|(page, _)| *page).collect();
            channels.text.wordless(&pages).map_err(QueryError::Text)?
        }
        _ => HashSet::new(),
    };
    let seen = voting.as_ref().zip(query.as_ref()).map(|(ranking, query)| Visual {
        ranking,
        tokens: query.len(),
        wordless: &wordless,
    });
    let mut hits = fuse(request.fusion, seen, text.as_deref());
    hits.truncate(request.k);
    let matches = match &query {
        Some(query) if request.explain => explain(channels.vectors, query, &hits)?,
        _ => Vec::new(),
    };
    let (visual, text) = (visual.is_some(), text.is_some());
    Ok(Ranking { hits, timings, work, matches, notice, visual, text, words_alone })
}

type Pictures = (Vec<(PageId, f32)>, Work, Option<String>);

/// The visual ranking. Codes are derived: when they are damaged the masters answer, and the
/// notice says so.
fn rank_by_pictures(
    channels: &Channels<'_>,
    query: &QueryVectors,
    depth: Depth,
    request: &Request<'_>,
) -> Result<Pictures, QueryError> {
    let (documents, shortcut) = (request.documents, request.shortcut);
    let mut notice = None;
    if let Some(codes) = channels.codes {
        match rank_by_codes(codes, channels.vectors, query, depth, documents, shortcut) {
            Ok((ranking, work)) => return Ok((ranking, work, None)),
            Err(CodesError::Failed(error)) => return Err(error),
            Err(CodesError::Damaged(why)) => notice = Some(format!("{why}: all vectors were read")),
        }
    }
    let (ranking, work) = rank_by_masters(channels.vectors, query, depth.pages, documents)?;
    Ok((ranking, work, notice))
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

/// Whether most of a query is in letters that the model has no pieces for, so that its tokenizer
/// falls back to their bytes: what such a model sees of them is no vote against words.
fn is_spelled_in_bytes(query: &QueryVectors) -> bool {
    let is_byte = |token: &&String| token.starts_with("<0x") && token.ends_with('>');
    2 * query.tokens().iter().filter(is_byte).count() > query.len()
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
        let (query, shortcut, fusion) = ("number3 words", Shortcut::Auto, Fusion::default());
        Request { query, channel, k, depth: 100, documents, explain: false, shortcut, fusion }
    }

    #[test]
    fn the_visual_ranking_is_the_brute_force_ranking() {
        let (store, _) = store();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels =
            Channels { vectors: &store, codes: None, encoder: Some(&encoder), text: &store };
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
        assert_eq!(ranking.work.seen, 7);
    }

    #[test]
    fn both_channels_show_in_a_fused_hit() {
        let (store, _) = store();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels =
            Channels { vectors: &store, codes: None, encoder: Some(&encoder), text: &store };
        let ranking = search(&channels, &ask(Channel::Both, 10, None)).unwrap();
        assert!(ranking.hits.iter().all(|h| h.visual.is_some() && h.text.is_some()));
        let third = ranking.hits.iter().find(|h| h.page.number == 3).unwrap();
        assert_eq!(third.text.unwrap().rank, 1);
    }

    #[test]
    fn without_a_model_words_answer_and_the_visual_channel_says_so() {
        let (store, _) = store();
        let channels = Channels { vectors: &store, codes: None, encoder: None, text: &store };
        let ranking = search(&channels, &ask(Channel::Both, 1, None)).unwrap();
        assert_eq!((ranking.hits[0].page.number, ranking.visual), (3, false));
        let error = search(&channels, &ask(Channel::Visual, 1, None)).unwrap_err();
        assert!(matches!(error, QueryError::NoModel));
    }

    #[test]
    fn a_page_without_words_is_found_by_its_picture() {
        let (mut store, id) = store();
        let vectors = store.pages()[2].vectors.clone().unwrap();
        let mut scan = page_record(id, 8, "", None);
        scan.vectors = Some(vectors);
        store.commit(Batch { pages: vec![scan], ..Batch::default() }).unwrap();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels =
            Channels { vectors: &store, codes: None, encoder: Some(&encoder), text: &store };
        let fusion = Fusion { visual_weight: 0.0, visual_margin: 0.0 };
        let ranking =
            search(&channels, &Request { fusion, ..ask(Channel::Both, 8, None) }).unwrap();
        let place = |number| ranking.hits.iter().position(|hit| hit.page.number == number).unwrap();
        // Its picture is that of page 3, which the words put first.
        assert_eq!((place(3), ranking.hits.len()), (0, 8));
        let better =
            |hit: &Hit| hit.visual.unwrap().score >= ranking.hits[place(8)].visual.unwrap().score;
        let before = ranking.hits[..place(8)].iter().filter(|hit| better(hit)).count();
        assert_eq!(before, place(8));
        let ranking = search(&channels, &ask(Channel::Text, 8, None)).unwrap();
        assert!(ranking.hits.iter().all(|hit| hit.page.number != 8));
    }

    #[test]
    fn letters_that_the_model_has_no_pieces_for_leave_the_order_to_words() {
        struct Bytes(usize);
        impl QueryEncoder for Bytes {
            fn model_id(&self) -> &pagesight_core::ModelId {
                unimplemented!("nobody asks")
            }

            fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
                let token = |i| if i < self.0 { "<0xE6>" } else { "re" }.to_string();
                // Page 7 looks like it, page 3 reads like it.
                let values = [1.0, 0.0, 0.3, 0.2].repeat(4);
                let query = QueryVectors::new(4, values, (0..4).map(token).collect())?;
                Ok(vec![query; queries.len()])
            }
        }
        let (store, _) = store();
        let fusion = Fusion { visual_weight: 9.0, visual_margin: 0.0 };
        let request = Request { fusion, ..ask(Channel::Both, 7, None) };
        for (bytes, first) in [(2, 7), (3, 3)] {
            let encoder = Bytes(bytes);
            let channels =
                Channels { vectors: &store, codes: None, encoder: Some(&encoder), text: &store };
            let ranking = search(&channels, &request).unwrap();
            assert_eq!((ranking.hits[0].page.number, ranking.hits.len()), (first, 7));
            assert_eq!(ranking.words_alone, first == 3);
        }
        // Page 8 has no words, and looks most like what cannot be read.
        let (mut store, id) = (store.clone(), store.pages()[0].id.document);
        let scan = page_record(id, 8, "", Some((4, &[1.0, 0.0, 0.3, 0.2])));
        store.commit(Batch { pages: vec![scan], ..Batch::default() }).unwrap();
        let encoder = Bytes(4);
        let channels =
            Channels { vectors: &store, codes: None, encoder: Some(&encoder), text: &store };
        let ranking = search(&channels, &request).unwrap();
        assert_eq!((ranking.hits[0].page.number, ranking.hits.len()), (3, 7));
        assert!(ranking.hits.iter().all(|hit| hit.visual.is_none()));
        let nowhere = Request { query: "审计意见", ..request };
        assert_eq!(search(&channels, &nowhere).unwrap().hits, []);
    }

    #[test]
    fn what_is_quoted_is_required_of_both_channels() {
        let (store, _) = store();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels =
            Channels { vectors: &store, codes: None, encoder: Some(&encoder), text: &store };
        let pages = |query| {
            let request = Request { query, ..ask(Channel::Both, 7, None) };
            let ranking = search(&channels, &request).unwrap();
            ranking.hits.iter().map(|hit| hit.page.number).collect::<Vec<_>>()
        };
        assert_eq!(pages("number3").len(), 7);
        // The fake index splits at spaces: this one word is on page 3 alone.
        assert_eq!(pages(" \" number3 \" "), [3]);
    }

    #[test]
    fn a_filter_holds_in_both_channels() {
        let (store, _) = store();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels =
            Channels { vectors: &store, codes: None, encoder: Some(&encoder), text: &store };
        let none = std::collections::HashSet::from([DocumentId::of(b"another")]);
        assert!(search(&channels, &ask(Channel::Both, 9, Some(&none))).unwrap().hits.is_empty());
    }

    #[test]
    fn a_model_of_another_dim_is_refused() {
        let (mut store, id) = store();
        let pages = vec![page_record(id, 8, "", Some((2, &[1.0, 0.0])))];
        store.commit(Batch { pages, ..Batch::default() }).unwrap();
        let encoder = FakeEncoder::new(8, Slices::default());
        let channels =
            Channels { vectors: &store, codes: None, encoder: Some(&encoder), text: &store };
        let error = search(&channels, &ask(Channel::Visual, 3, None)).unwrap_err();
        assert!(matches!(error, QueryError::Dim(DimMismatch { query: 4, page: 2 })));
    }
}
