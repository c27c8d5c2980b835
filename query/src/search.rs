//! One search, from question to ranked pages.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use pagesight_core::seam::{DocumentFilter, QueryEncoder, TextIndex, VectorSource};
use pagesight_core::{
    Channel, Found, Fusion, Hit, ModelId, PageId, QueryToken, QueryVectors, phrases,
};
use pagesight_maxsim::{Segments, pool_k_means};

use crate::effort::Effort;
use crate::error::QueryError;
use crate::explain::{TokenMatch, explain_hits};
use crate::fusion::{ChannelRanking, Wordless, fuse};
use crate::identifiers::identifiers;
use crate::notice::Notice;
use crate::passages::{self, Meant, PassageMatch, PassageSource, PassageWeights, PassagesError};
use crate::question::Question;
use crate::verdict::{Asked, AskedPassages, Calibration, Likelihood};
use crate::visual::{self, Backgrounds, Correction, Depth, Work};

/// Vectors that a page is reduced to, about, when it is the question.
const VECTORS_OF_A_PAGE: usize = 64;

/// Pages that say whether there is an answer: as many as the fit looked at.
const JUDGED: usize = 10;

/// An identifier that more pages have does not tell them apart.
const FEW: usize = 20;

/// What a search runs on, all of one snapshot. [`new`](Self::new) fills in the rest:
/// `Sources { codes, ..Sources::new(vectors, text) }`.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The stored multi-vectors.
    pub vectors: &'a dyn VectorSource,
    /// The words.
    pub text: &'a dyn TextIndex,
    /// Codes of all multi-vectors. Without them the multi-vectors themselves are scanned.
    pub codes: Option<&'a Segments>,
    /// The model, which encodes words for the patches. Without one, a question of words is asked in
    /// the words alone.
    pub encoder: Option<&'a dyn QueryEncoder>,
    /// What pages give to any question, which is taken off. Without, pages with many vectors are
    /// favoured.
    pub backgrounds: Option<&'a Backgrounds>,
    /// What the text of the pages means. Without it the passages are not asked.
    pub passages: Option<PassageSource<'a>>,
}

impl<'a> Sources<'a> {
    /// Vectors and words, without codes and without a model.
    pub fn new(vectors: &'a dyn VectorSource, text: &'a dyn TextIndex) -> Self {
        Self { vectors, text, codes: None, encoder: None, backgrounds: None, passages: None }
    }
}

/// A question, and how it is to be answered. [`new`](Self::new) fills in the defaults:
/// `Request { k: 3, ..Request::new(&question) }`.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// What is asked.
    pub question: &'a Question,
    /// The channels to ask; patches and words by default. One that cannot answer is passed over as
    /// long as another can.
    pub channels: Vec<Channel>,
    /// How many hits to return; 10 by default.
    pub k: usize,
    /// How many pages each channel finds before they are fused; 100 by default.
    pub depth: usize,
    /// Which documents may be found; `None` for all.
    pub documents: DocumentFilter<'a>,
    /// Whether to say what of each hit answers each query token.
    pub explain: bool,
    /// How much is read to rank by late interaction.
    pub effort: Effort,
    /// How far the patches are trusted beside the other channels.
    pub fusion: Fusion,
    /// What the two kinds of vectors of the passages count beside the words.
    pub passages: PassageWeights,
    /// Whether what a page gives to any question is taken off the scores of its patches; so by
    /// default, where it is known.
    pub background: bool,
    /// The model that made the patches: what its scores are worth was fitted for it, or not.
    pub model: Option<&'a ModelId>,
    /// What scores are worth.
    pub calibration: Calibration,
}

impl<'a> Request<'a> {
    /// Asks `question` with the defaults.
    pub fn new(question: &'a Question) -> Self {
        Self {
            question,
            channels: vec![Channel::Patches, Channel::Words],
            k: 10,
            depth: 100,
            documents: None,
            explain: false,
            effort: Effort::default(),
            fusion: Fusion::default(),
            passages: PassageWeights::default(),
            background: true,
            model: None,
            calibration: Calibration::default(),
        }
    }
}

/// Where the time went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timings {
    /// From the question to its vectors.
    pub encode: Duration,
    /// Reading and scoring, for each channel that answered.
    pub channels: Vec<(Channel, Duration)>,
}

impl Timings {
    /// What `channel` took; nothing when it was not asked.
    pub fn channel(&self, channel: Channel) -> Duration {
        let took = self.channels.iter().find(|(other, _)| *other == channel);
        took.map_or(Duration::ZERO, |(_, took)| *took)
    }
}

/// Ranked pages, and how they were found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Ranking {
    /// The hits, best first.
    pub hits: Vec<Hit>,
    /// For each hit, what answers each query token; empty unless asked for.
    pub matches: Vec<Vec<TokenMatch>>,
    /// For each hit, the passage that is most like the question; `None` where passages were not
    /// asked, or did not compare the page.
    pub passages: Vec<Option<PassageMatch>>,
    /// For each hit, how likely it answers; `None` where nothing was fitted for what found it.
    pub likelihoods: Vec<Option<Likelihood>>,
    /// How likely one of the hits answers.
    pub likelihood: Option<Likelihood>,
    /// The channels that answered, in the order of [`Channel`].
    pub channels: Vec<Channel>,
    /// What late interaction did.
    pub work: Work,
    /// Where the time went.
    pub timings: Timings,
    /// What a user should know of the ranking.
    pub notices: Vec<Notice>,
}

impl Ranking {
    /// Takes the hits out, e.g. where nothing speaks for an answer; how many they were.
    pub fn hold_back(&mut self) -> usize {
        self.matches.clear();
        self.passages.clear();
        self.likelihoods.clear();
        std::mem::take(&mut self.hits).len()
    }

    /// Whether `channel` answered.
    pub fn asked(&self, channel: Channel) -> bool {
        self.channels.contains(&channel)
    }
}

/// Answers `request`.
///
/// A channel that cannot answer is passed over as long as another can: the patches where the
/// question is words and there is no model, the words where the question has none. Where the model
/// has no pieces for most of a query it cannot see what is asked, and its ranking counts for no page.
/// [`Ranking::notices`] says so. Pages without what the question has in quotation marks are left out
/// of all channels. A question in a language that the model of meaning was not made for is answered
/// by the other channels, as if there were no passages; and so is one whose best pages by words have
/// none yet.
///
/// # Errors
/// [`QueryError`]; never a partial ranking as if whole.
///
/// ```
/// use pagesight_core::seam::{Batch, PageSink};
/// use pagesight_core::testing::{FakeStore, document_record, page_record};
/// use pagesight_core::DocumentId;
/// use pagesight_query::{Notice, Request, Sources, search};
///
/// let mut store = FakeStore::default();
/// let id = DocumentId::of(b"a");
/// store.commit(Batch {
///     documents: vec![document_record("a.pdf", id, 1)],
///     pages: vec![page_record(id, 1, "net revenue by region", None)],
///     ..Batch::default()
/// })?;
/// let ranking = search(&Sources::new(&store, &store), &Request::new(&"revenue".into()))?;
/// assert_eq!(ranking.hits[0].page.number, 1);
/// assert_eq!(ranking.notices, [Notice::NoModel]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn search(sources: &Sources<'_>, request: &Request<'_>) -> Result<Ranking, QueryError> {
    let (mut channels, mut notices) = answering(sources, request)?;
    let mut timings = Timings::default();
    let mut work = Work::default();
    // A page that is the question is found and left out: one more is wanted.
    let unwanted = request.question.page();
    let more = usize::from(unwanted.is_some());
    let (k, depth) = (request.k + more, request.depth.max(request.k) + more);
    let (mut query, mut meant) = (None, None);
    let mut rankings: Vec<(Channel, Found)> = Vec::with_capacity(channels.len());
    for &channel in &channels {
        let start;
        let mut found = match channel {
            Channel::Patches => {
                let vectors = timed(&mut timings.encode, || encode(sources, request.question))?;
                start = Instant::now();
                // Below the last hit nothing is fused with one channel alone.
                let pages = if channels.len() == 1 { k } else { depth };
                let query = &*query.insert(vectors);
                let ((found, done), notice) = visual::rank(
                    sources.vectors,
                    sources.codes,
                    query,
                    Depth { pages, certain: k },
                    request.documents,
                    request.effort,
                    correction(sources, request, query).as_ref(),
                )?;
                work = done;
                notices.extend(notice);
                found
            }
            Channel::Words => {
                start = Instant::now();
                let words = request.question.words().ok_or(QueryError::NoWords)?;
                let found = sources.text.search_text(words, depth, request.documents);
                found.map_err(QueryError::Text)?
            }
            _ => {
                let (source, words) = (sources.passages, request.question.words());
                let (source, words) = source.zip(words).ok_or(QueryError::NoWords)?;
                let encode = || source.encoder.encode_question(words).map_err(QueryError::Encode);
                let question = timed(&mut timings.encode, encode)?;
                start = Instant::now();
                let found = rankings.iter().find(|(channel, _)| *channel == Channel::Words);
                let found = found.map_or(&[][..], |(_, found)| &found.pages);
                let (documents, weights) = (request.documents, request.passages);
                match passages::rank(source, &question, found, documents, weights) {
                    Ok(found) => {
                        let Meant { found, passages } = found;
                        meant = Some(passages);
                        found
                    }
                    Err(PassagesError::Damaged(reason)) if channels.len() > 1 => {
                        notices.push(Notice::PassagesDamaged { reason });
                        continue;
                    }
                    Err(PassagesError::Damaged(reason)) => {
                        return Err(QueryError::Passages { reason });
                    }
                    Err(PassagesError::Missing) => continue,
                    Err(PassagesError::Failed(error)) => return Err(error),
                }
            }
        };
        if let Some(at) = found.pages.iter().position(|(page, _)| Some(*page) == unwanted) {
            found.pages.remove(at);
            if channel == Channel::Patches && at < work.certain {
                work.certain -= 1;
            }
        }
        timings.channels.push((channel, start.elapsed()));
        rankings.push((channel, found));
    }
    let mut asked = Asked { words: None, patches: None, model: request.model, passages: None };
    for (channel, found) in &rankings {
        match channel {
            Channel::Words => asked.words = Some(found.scale),
            Channel::Patches => {
                let spelled = query.as_ref().filter(|query| query.is_spelled());
                asked.patches = spelled.map(|_| found.scale);
            }
            _ => {}
        }
    }
    // What is quoted is required, and words alone can say that it is there.
    let quotes = request.question.words().is_some_and(|words| !phrases(words).is_empty());
    let with_quotes: Option<HashSet<PageId>> = rankings
        .iter()
        .find(|(channel, _)| quotes && *channel == Channel::Words)
        .map(|(_, found)| found.pages.iter().map(|(page, _)| *page).collect());
    if let Some(with_quotes) = with_quotes {
        for (_, found) in &mut rankings {
            found.pages.retain(|(page, _)| with_quotes.contains(page));
        }
    }
    let mut wordless = HashSet::new();
    if let Some(query) = query.as_ref().filter(|_| channels.len() > 1) {
        if !query.is_spelled() {
            // What a model sees of letters that it has no pieces for is no vote, for no page.
            rankings.retain(|(channel, _)| *channel != Channel::Patches);
            let unspelled = query.tokens().iter().filter(|token| !token.spelled).count();
            notices.push(Notice::Unspelled { unspelled, tokens: query.len() });
        }
        let seen = rankings.iter().filter(|(channel, _)| *channel == Channel::Patches);
        let seen = seen.flat_map(|(_, found)| &found.pages).map(|(page, _)| *page);
        let seen: Vec<PageId> = seen.collect();
        wordless = sources.text.wordless(&seen).map_err(QueryError::Text)?;
    }
    let tokens = query.as_ref().map_or(0, QueryVectors::len);
    let weight_of = |channel, found: &Found| match channel {
        Channel::Patches => request.fusion.visual_weight,
        Channel::Words if meant.is_some() => request.passages.of_words(best_share(found)),
        _ => 1.0,
    };
    let said: Vec<ChannelRanking<'_>> = rankings
        .iter()
        .map(|(channel, found)| weighed(*channel, found, depth, weight_of))
        .collect();
    let mut hits = fuse(request.fusion, &said, Some(Wordless { pages: &wordless, tokens }));
    if said.iter().any(|of| of.channel != Channel::Words && of.weight != 0.0) {
        put_identified_first(sources, request, &mut hits)?;
    }
    let embedder = sources.passages.map(|source| source.encoder.record().id);
    let said = rankings.iter().find(|(channel, _)| *channel == Channel::Passages);
    if let (Some(model), Some((_, found)), Some(matches)) = (&embedder, said, &meant) {
        asked.passages = Some(AskedPassages { model, found, matches });
    }
    // What is said of an answer does not depend on how few of its pages are wanted.
    let judged = &hits[..hits.len().min(request.k.max(JUDGED))];
    let (mut likelihoods, likelihood) =
        request.calibration.judge(&asked, judged, |hit| wordless.contains(&hit.page));
    hits.truncate(request.k);
    likelihoods.truncate(request.k);
    if meant.is_none() {
        // Damaged codes, or too few passages, said nothing.
        channels.retain(|channel| *channel != Channel::Passages);
    }
    let meant = meant.unwrap_or_default();
    let passages = hits.iter().map(|hit| meant.get(&hit.page).copied()).collect();
    if let Some(query) = query.as_ref().filter(|_| request.explain)
        && let Some(correction) = correction(sources, request, query)
    {
        explain_background(&correction, sources, &mut hits)?;
    }
    let matches = match &query {
        Some(query) if request.explain => explain_hits(sources.vectors, query, &hits)?,
        _ => Vec::new(),
    };
    Ok(Ranking {
        hits,
        matches,
        passages,
        likelihoods,
        likelihood,
        channels,
        work,
        timings,
        notices,
    })
}

/// What is taken off the scores of pages for `query`, where anything is. What a page gives to
/// questions says nothing of what it gives to another page.
fn correction<'a>(
    sources: &Sources<'a>,
    request: &Request<'_>,
    query: &QueryVectors,
) -> Option<Correction<'a>> {
    let backgrounds = sources.backgrounds.filter(|_| request.background)?;
    if request.question.page().is_some() {
        return None;
    }
    Correction::new(backgrounds, sources.encoder, query)
}

/// What `channel` found, with what it counts.
fn weighed<'a>(
    channel: Channel,
    found: &'a Found,
    depth: usize,
    weight_of: impl Fn(Channel, &Found) -> f32,
) -> ChannelRanking<'a> {
    let weight = weight_of(channel, found);
    let last = found.pages.last().map_or(0.0, |last| last.1);
    // Words list all pages that have any, as far as they are asked for.
    let rest = match channel {
        Channel::Words if found.pages.len() < depth => 0.0,
        _ => last,
    };
    ChannelRanking { channel, pages: &found.pages, scale: found.scale, rest, weight }
}

/// How much of what is asked the best page has, 0 where there is none.
fn best_share(found: &Found) -> f32 {
    let best = found.pages.first().and_then(|best| found.scale.share(best.1));
    best.unwrap_or_default()
}

/// Pages with an identifier of the question go first, in the order that words give them, where few
/// have it: what another channel makes of the rest of the question does not outweigh it.
fn put_identified_first(
    sources: &Sources<'_>,
    request: &Request<'_>,
    hits: &mut Vec<Hit>,
) -> Result<(), QueryError> {
    let mut identified: HashSet<PageId> = HashSet::new();
    for identifier in identifiers(request.question.words().unwrap_or_default()) {
        let quoted = format!("\"{identifier}\"");
        let found = sources.text.search_text(&quoted, FEW + 1, request.documents);
        let found = found.map_err(QueryError::Text)?.pages;
        if found.len() <= FEW {
            identified.extend(found.into_iter().map(|(page, _)| page));
        }
    }
    let by_words = |hit: &Hit| hit.channel(Channel::Words).map(|said| said.rank);
    let (mut first, mut rest): (Vec<Hit>, Vec<Hit>) =
        hits.drain(..).partition(|hit| identified.contains(&hit.page) && by_words(hit).is_some());
    first.sort_by_key(by_words);
    // Scores rank: those in front are raised above the rest.
    let mut least = rest.first().map_or(f32::NEG_INFINITY, |best| best.score);
    for hit in first.iter_mut().rev() {
        hit.score = hit.score.max(least.next_up());
        least = hit.score;
    }
    hits.append(&mut first);
    hits.append(&mut rest);
    Ok(())
}

/// Says of each hit what was taken off because the page gives it to any question.
fn explain_background(
    correction: &Correction<'_>,
    sources: &Sources<'_>,
    hits: &mut [Hit],
) -> Result<(), QueryError> {
    let off = correction.of_vectors(sources.codes)?;
    let pages: Vec<PageId> = hits.iter().map(|hit| hit.page).collect();
    let unknown: Vec<PageId> = pages.into_iter().filter(|page| !off.knows(*page)).collect();
    let vectors = sources.vectors.vectors_of(&unknown).map_err(QueryError::Vectors)?;
    for hit in hits {
        let vectors = vectors.iter().find(|(page, _)| *page == hit.page).map(|(_, page)| page);
        let said = hit.channels.iter_mut().find(|said| said.channel == Channel::Patches);
        if let Some(said) = said {
            said.background = off.off(hit.page, vectors)?;
        }
    }
    Ok(())
}

/// The channels of `request` that can answer it, in the order of [`Channel`], and what to say of
/// those that cannot.
fn answering(
    sources: &Sources<'_>,
    request: &Request<'_>,
) -> Result<(Vec<Channel>, Vec<Notice>), QueryError> {
    let asked: BTreeSet<Channel> = request.channels.iter().copied().collect();
    let (mut channels, mut notices, mut failed) = (Vec::new(), Vec::new(), None);
    for channel in asked {
        let needs_a_model = matches!(request.question, Question::Words(_));
        let (error, notice) = match channel {
            Channel::Patches if needs_a_model && sources.encoder.is_none() => {
                (QueryError::NoModel, Some(Notice::NoModel))
            }
            Channel::Words | Channel::Passages if request.question.words().is_none() => {
                (QueryError::NoWords, None)
            }
            Channel::Passages if sources.passages.is_none() => {
                (QueryError::NoChannel { channel }, Some(Notice::NoChannel { channel }))
            }
            // Others answer a question that the model was not made for.
            Channel::Passages if !channels.is_empty() && !understood(sources, request) => continue,
            Channel::Patches | Channel::Words | Channel::Passages => {
                channels.push(channel);
                continue;
            }
            _ => (QueryError::NoChannel { channel }, Some(Notice::NoChannel { channel })),
        };
        notices.extend(notice);
        failed.get_or_insert(error);
    }
    if channels.is_empty() {
        return Err(failed.unwrap_or(QueryError::NothingAsked));
    }
    Ok((channels, notices))
}

/// Whether the model of meaning was made for the language of the question.
fn understood(sources: &Sources<'_>, request: &Request<'_>) -> bool {
    let asked = sources.passages.zip(request.question.words());
    asked.is_some_and(|(source, words)| source.encoder.understands(words))
}

fn timed<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *total += start.elapsed();
    result
}

/// The vectors of a question.
fn encode(sources: &Sources<'_>, question: &Question) -> Result<QueryVectors, QueryError> {
    match question {
        Question::Words(words) => {
            let encoder = sources.encoder.ok_or(QueryError::NoModel)?;
            let mut vectors = encoder.encode_queries(&[words]).map_err(QueryError::Encode)?;
            vectors.pop().ok_or_else(|| QueryError::Encode("the encoder gave nothing back".into()))
        }
        Question::Vectors { vectors, .. } => Ok(vectors.clone()),
        Question::Page { page, .. } => vectors_of_page(sources.vectors, *page),
    }
}

/// The stored vectors of a page as those of a query. Similar ones are merged until about
/// [`VECTORS_OF_A_PAGE`] are left: a search then takes as long as that of a long question, and the
/// many vectors of blank paper count as the few that they are. A token is called by the place of
/// the vector that is most like it.
fn vectors_of_page(source: &dyn VectorSource, page: PageId) -> Result<QueryVectors, QueryError> {
    let found = source.vectors_of(&[page]).map_err(QueryError::Vectors)?;
    let (_, vectors) = found.into_iter().next().ok_or(QueryError::NoVectors { page })?;
    let rows: Vec<f32> = vectors.values().iter().map(|value| value.to_f32()).collect();
    let factor = vectors.len().div_ceil(VECTORS_OF_A_PAGE);
    let pooled = pool_k_means(vectors.dim(), &rows, factor);
    let name = |&row: &usize| QueryToken::special(vectors.place(row).to_string());
    let tokens = pooled.representatives.iter().map(name).collect();
    QueryVectors::new(vectors.dim(), pooled.vectors, tokens)
        .map_err(|error| QueryError::Vectors(error.into()))
}

#[cfg(test)]
mod tests {
    use pagesight_core::seam::{Batch, BoxError, PageSink, PassageEncoder};
    use pagesight_core::testing::{
        FakeEncoder, FakePassageEncoder, FakeStore, document_record, page_record,
    };
    use pagesight_core::{DocumentId, Slices};
    use pagesight_maxsim::DimMismatch;

    use super::*;
    use crate::testing::coded;

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

    const BOTH: [Channel; 2] = [Channel::Patches, Channel::Words];

    fn encoder() -> FakeEncoder {
        FakeEncoder::new(8, Slices::default())
    }

    fn ask(
        store: &FakeStore,
        encoder: Option<&dyn QueryEncoder>,
        question: impl Into<Question>,
        with: impl FnOnce(&mut Request<'_>),
    ) -> Result<Ranking, QueryError> {
        let question = question.into();
        let mut request = Request::new(&question);
        with(&mut request);
        search(&Sources { encoder, ..Sources::new(store, store) }, &request)
    }

    fn numbers(ranking: &Ranking) -> Vec<u32> {
        ranking.hits.iter().map(|hit| hit.page.number).collect()
    }

    /// Asks words and passages of pages with these texts.
    fn meant(texts: &[&str], question: &str) -> (Ranking, Ranking) {
        let mut store = FakeStore::default();
        let id = DocumentId::of(b"doc");
        let pages: Vec<_> =
            (1..).zip(texts).map(|(n, text)| page_record(id, n, text, None)).collect();
        let ids: Vec<PageId> = pages.iter().map(|page| page.id).collect();
        let documents = vec![document_record("doc.pdf", id, texts.len() as u32)];
        store.commit(Batch { documents, pages, ..Batch::default() }).unwrap();
        let encoder = FakePassageEncoder::default();
        let encoded = encoder.encode_texts(texts).unwrap();
        let pages = ids.iter().zip(&encoded);
        let pages: Vec<_> = pages.filter_map(|(id, page)| Some((*id, page.as_ref()?))).collect();
        let pooled: Vec<_> = pages.iter().map(|(id, page)| (*id, &page.pooled)).collect();
        let tokens: Vec<_> = pages.iter().map(|(id, page)| (*id, &page.tokens)).collect();
        let (pooled, tokens) = (coded(&pooled), coded(&tokens));
        let passages = Some(PassageSource { encoder: &encoder, pooled: &pooled, tokens: &tokens });
        let sources = Sources { passages, ..Sources::new(&store, &store) };
        let question = Question::from(question);
        let ask = |channels: &[Channel]| {
            let channels = channels.to_vec();
            search(&sources, &Request { channels, ..Request::new(&question) }).unwrap()
        };
        (ask(&[Channel::Words, Channel::Passages]), ask(&[Channel::Words]))
    }

    #[test]
    fn words_count_by_how_much_of_the_question_their_best_page_has() {
        let texts = ["red house\ngreen door", "blue sky", "grey sea", "white sand", "sun"];
        let shares = ["green door", "green door of an old barn by the river", "purple sun"].map(
            |question| {
                let (both, words) = meant(&texts, question);
                let said = |of: &Ranking| *of.hits[0].channel(Channel::Words).unwrap();
                let best = said(&words).share.unwrap();
                let weight = PassageWeights::default().of_words(best);
                for hit in &both.hits {
                    let Some(said) = hit.channel(Channel::Words) else { continue };
                    assert!((said.part - weight * said.z).abs() < 1e-5, "{question}: {said:?}");
                }
                // Alone they count as they are.
                assert_eq!(said(&words).part, said(&words).score);
                best
            },
        );
        let enough = PassageWeights::default().enough;
        assert!(shares[0] > shares[1] && shares[1] < enough, "{shares:?}");
    }

    #[test]
    fn passages_find_what_words_do_not_and_say_where() {
        let texts = ["red house\ngreen door", "blue sky", "", "a green door\nand a red house"];
        let (both, words) = meant(&texts, "green door");
        assert_eq!(both.channels, [Channel::Words, Channel::Passages]);
        assert!(both.notices.is_empty());
        // A page without a word of the question is found by the other channel alone.
        assert!(words.hits.len() < both.hits.len());
        let first = &both.hits[0];
        assert_eq!(first.page.number, 1);
        assert_eq!(both.passages[0].map(|found| found.passage), Some(1));
        let parts: f32 = first.channels.iter().map(|said| said.part).sum();
        assert!((first.score - parts).abs() < 1e-5, "{first:?}");
        assert!(both.hits.iter().all(|hit| hit.page.number != 3), "no words, no meaning");
    }

    #[test]
    fn a_question_that_is_not_understood_is_answered_as_without_passages() {
        let texts = ["дом красный 12", "небо", "12 13"];
        for question in ["дом", "12", "", "\"12 13\""] {
            let (both, words) = meant(&texts, question);
            assert_eq!((both.channels, both.hits), (words.channels, words.hits), "{question}");
            assert!(both.notices.is_empty());
        }
    }

    #[test]
    fn the_visual_ranking_is_the_brute_force_ranking() {
        let (store, _) = store();
        let encoder = encoder();
        let ranking = ask(&store, Some(&encoder), "number3 words", |request| {
            (request.channels, request.k) = (vec![Channel::Patches], 3);
        })
        .unwrap();
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
        let ranking = ask(&store, Some(&encoder()), "number3 words", |_| ()).unwrap();
        assert_eq!((ranking.hits.len(), &ranking.channels[..]), (7, &BOTH[..]));
        assert!(ranking.hits.iter().all(|hit| BOTH.iter().all(|c| hit.channel(*c).is_some())));
        let third = ranking.hits.iter().find(|hit| hit.page.number == 3).unwrap();
        assert_eq!(third.channel(Channel::Words).unwrap().rank, 1);
        assert_eq!(ranking.notices, []);
        assert!(ranking.matches.is_empty());
        // Matches name the bytes of the question.
        let ranking = ask(&store, Some(&encoder()), "number3 words", |r| r.explain = true).unwrap();
        assert_eq!(ranking.matches.len(), 7);
        let spans: Vec<_> = ranking.matches[0].iter().map(|found| found.span.clone()).collect();
        assert_eq!(spans, [None, Some(0..7), Some(8..13)]);
    }

    #[test]
    fn a_channel_that_cannot_answer_is_passed_over_while_another_can() {
        let (store, id) = store();
        let ranking = ask(&store, None, "number3 words", |request| request.k = 1).unwrap();
        assert_eq!((numbers(&ranking), ranking.asked(Channel::Patches)), (vec![3], false));
        assert_eq!(ranking.notices, [Notice::NoModel]);
        let ask = |channels: &[Channel], question: Question, encoder| {
            ask(&store, encoder, question, |request| request.channels = channels.to_vec())
        };
        let words = || Question::from("number3 words");
        let alone = ask(&[Channel::Patches], words(), None);
        assert!(matches!(alone, Err(QueryError::NoModel)));
        let vectors = || Question::from(QueryVectors::of_rows(4, vec![0.5; 4]).unwrap());
        let alone = ask(&[Channel::Words], vectors(), None);
        assert!(matches!(alone, Err(QueryError::NoWords)));
        assert!(matches!(ask(&[], words(), None), Err(QueryError::NothingAsked)));
        let passages = Channel::Passages;
        let model = encoder();
        let alone = ask(&[passages], words(), Some(&model));
        assert!(matches!(alone, Err(QueryError::NoChannel { channel }) if channel == passages));
        let ranking = ask(&[passages, Channel::Words], words(), None).unwrap();
        assert_eq!(ranking.notices, [Notice::NoChannel { channel: passages }]);
        let nowhere = PageId { document: id, number: 99 };
        let error = ask(&BOTH, nowhere.into(), None).unwrap_err();
        assert!(matches!(error, QueryError::NoVectors { page } if page == nowhere));
    }

    #[test]
    fn vectors_made_elsewhere_find_what_the_model_would() {
        let (store, _) = store();
        let vectors = encoder().encode_queries(&["number3 words"]).unwrap().remove(0);
        for words in [None, Some("number3 words".to_string())] {
            let channels = if words.is_some() { BOTH.to_vec() } else { vec![Channel::Patches] };
            let expected = ask(&store, Some(&encoder()), "number3 words", |request| {
                request.channels = channels.clone();
            });
            let question = Question::Vectors { vectors: vectors.clone(), words };
            let got = ask(&store, None, question, |_| ()).unwrap();
            assert_eq!((&got.hits, got.channels), (&expected.unwrap().hits, channels));
        }
    }

    #[test]
    fn more_like_a_page_finds_its_like_and_not_itself() {
        let (mut store, id) = store();
        // A large page, and its twin with a few other vectors.
        let row = |n: usize| {
            let row = [(n % 7) as f32 - 3.0, (n % 5) as f32 - 2.0, (n % 3) as f32, 1.0];
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.map(|x| x / length)
        };
        let large: Vec<f32> = (0..300).flat_map(row).collect();
        let twin: Vec<f32> = (5..305).flat_map(row).collect();
        let pages = vec![
            page_record(id, 8, "", Some((4, &large))),
            page_record(id, 9, "", Some((4, &twin))),
        ];
        store.commit(Batch { pages, ..Batch::default() }).unwrap();
        let page = |number| PageId { document: id, number };
        for k in [1, 3, 20] {
            let like = ask(&store, None, page(8), |request| request.k = k).unwrap();
            assert_eq!((like.hits[0].page, like.hits.len()), (page(9), k.min(8)));
            assert!(like.hits.iter().all(|hit| hit.page != page(8)));
            assert_eq!(like.hits[0].channels[0].rank, 1);
            assert_eq!(
                (&like.channels[..], like.work.certain),
                (&[Channel::Patches][..], k.min(8))
            );
        }
        // Few vectors are taken as they are, many are merged.
        let vectors = |number| vectors_of_page(&store, page(number)).unwrap();
        assert_eq!(vectors(3).len(), 1);
        assert!((32..=VECTORS_OF_A_PAGE).contains(&vectors(8).len()), "{}", vectors(8).len());
        let question = Question::Page { page: page(8), words: Some("number3".into()) };
        let like = ask(&store, None, question, |request| request.explain = true).unwrap();
        assert_eq!(like.channels, BOTH);
        assert_eq!(like.matches[0].len(), vectors(8).len());
        assert!(like.matches[0].iter().all(|found| found.token.parse::<usize>().unwrap() < 300));
    }

    #[test]
    fn a_page_without_words_is_found_by_its_patches() {
        let (mut store, id) = store();
        let vectors = store.pages()[2].vectors.clone().unwrap();
        let mut scan = page_record(id, 8, "", None);
        scan.vectors = Some(vectors);
        store.commit(Batch { pages: vec![scan], ..Batch::default() }).unwrap();
        let ranking = ask(&store, Some(&encoder()), "number3 words", |request| {
            request.fusion = Fusion { visual_weight: 0.0, visual_margin: 0.0 };
        })
        .unwrap();
        let place = |number| ranking.hits.iter().position(|hit| hit.page.number == number).unwrap();
        // It looks as page 3 does, which the words put first.
        assert_eq!((place(3), ranking.hits.len()), (0, 8));
        let score = |hit: &Hit| hit.channel(Channel::Patches).unwrap().score;
        let better = |hit: &Hit| score(hit) >= score(&ranking.hits[place(8)]);
        let before = ranking.hits[..place(8)].iter().filter(|hit| better(hit)).count();
        assert_eq!(before, place(8));
        let words = ask(&store, Some(&encoder()), "number3 words", |request| {
            request.channels = vec![Channel::Words];
        });
        assert!(words.unwrap().hits.iter().all(|hit| hit.page.number != 8));
    }

    #[test]
    fn letters_that_the_model_has_no_pieces_for_leave_the_order_to_words() {
        struct Bytes(usize);
        impl QueryEncoder for Bytes {
            fn encode_queries(&self, queries: &[&str]) -> Result<Vec<QueryVectors>, BoxError> {
                let token = |i| QueryToken { spelled: i >= self.0, ..QueryToken::special("re") };
                // Page 7 looks like it, page 3 reads like it.
                let values = [1.0, 0.0, 0.3, 0.2].repeat(4);
                let query = QueryVectors::new(4, values, (0..4).map(token).collect())?;
                Ok(vec![query; queries.len()])
            }
        }
        let (store, _) = store();
        for (bytes, first) in [(2, 7), (3, 3)] {
            let ranking = ask(&store, Some(&Bytes(bytes)), "number3 words", |request| {
                request.fusion = Fusion { visual_weight: 9.0, visual_margin: 0.0 };
            })
            .unwrap();
            assert_eq!((numbers(&ranking)[0], ranking.hits.len()), (first, 7));
            let expected = (first == 3).then_some(Notice::Unspelled { unspelled: 3, tokens: 4 });
            assert_eq!(ranking.notices, Vec::from_iter(expected));
        }
        // Page 8 has no words, and looks most like what cannot be read.
        let (mut more, id) = (store.clone(), store.pages()[0].id.document);
        let scan = page_record(id, 8, "", Some((4, &[1.0, 0.0, 0.3, 0.2])));
        more.commit(Batch { pages: vec![scan], ..Batch::default() }).unwrap();
        let ranking = ask(&more, Some(&Bytes(4)), "number3 words", |_| ()).unwrap();
        assert_eq!((numbers(&ranking)[0], ranking.hits.len()), (3, 7));
        let nowhere = ask(&more, Some(&Bytes(4)), "审计意见", |_| ()).unwrap();
        assert_eq!(nowhere.hits, []);
        // Alone, the patches are no less trusted.
        let ranking = ask(&store, Some(&Bytes(4)), "number3 words", |request| {
            request.channels = vec![Channel::Patches];
        });
        let ranking = ranking.unwrap();
        assert_eq!((numbers(&ranking)[0], &ranking.notices[..]), (7, &[][..]));
    }

    #[test]
    fn what_is_quoted_is_required_of_every_channel() {
        let (store, _) = store();
        let pages =
            |question: &str| numbers(&ask(&store, Some(&encoder()), question, |_| ()).unwrap());
        assert_eq!(pages("number3").len(), 7);
        // The fake index splits at spaces: this one word is on page 3 alone.
        assert_eq!(pages("\" number3 \""), [3]);
    }

    #[test]
    fn a_filter_holds_in_every_channel() {
        let (store, _) = store();
        let none = HashSet::from([DocumentId::of(b"another")]);
        let question = Question::from("number3 words");
        let request = Request { documents: Some(&none), ..Request::new(&question) };
        let encoder = encoder();
        let sources = Sources { encoder: Some(&encoder), ..Sources::new(&store, &store) };
        assert!(search(&sources, &request).unwrap().hits.is_empty());
    }

    #[test]
    fn vectors_of_another_dim_are_refused() {
        let (mut store, id) = store();
        let pages = vec![page_record(id, 8, "", Some((2, &[1.0, 0.0])))];
        store.commit(Batch { pages, ..Batch::default() }).unwrap();
        let error = ask(&store, Some(&encoder()), "number3 words", |_| ()).unwrap_err();
        assert!(matches!(error, QueryError::Dim(DimMismatch { query: 4, page: 2 })));
        assert_eq!(
            pagesight_core::chain(&error),
            "the query does not fit the stored vectors: query vectors have dim 4, page vectors 2"
        );
    }
}
