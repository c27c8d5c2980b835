//! A search, from the question to hits that can show their page.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use pagesight_core::seam::{Model, PassageEncoder, QueryEncoder};
use pagesight_core::{
    DocumentId, DocumentRecord, ModelId, ModelSource, PageRecord, PageSize, TextSource, chain,
};
use pagesight_query::{
    PassageMatch, PassageSource, PathFilter, Ranking, Request, Sources, TokenMatch,
};
use pagesight_store::StoreError;
use rayon::prelude::*;

use crate::encoded::{Remembering, RememberingPassages};
use crate::engine::Engine;
use crate::error::Error;
use crate::view::View;

pub use pagesight_core::{Channel, ChannelScore, Hit, PageId, Rect, Scale};
pub use pagesight_maxsim::maxsim_reference;
pub use pagesight_query::{
    ChannelRanking, Code, Effort, Likelihood, Notice, PassageWeights, QueryError, Question,
    Timings, Verdict, Wordless, Work, explain, fuse,
};
pub use pagesight_store::{Compact, Snippet, Tuning};

pub use crate::answer::{Answer, PageHit, Passage, PatchMatch};
pub use crate::page::Page;

/// A search being put together. Owned: it may be kept, cloned and run again, on any thread.
#[derive(Clone)]
#[must_use = "a search does nothing until it is run"]
pub struct Search {
    engine: Arc<Engine>,
    question: Question,
    k: usize,
    depth: usize,
    channels: Vec<Channel>,
    paths: Vec<String>,
    documents: Option<HashSet<DocumentId>>,
    explain: bool,
    effort: Option<Effort>,
    passages: PassageWeights,
    background: bool,
    all: bool,
}

impl Search {
    pub(crate) fn new(engine: Arc<Engine>, question: Question) -> Self {
        Self {
            engine,
            question,
            k: 10,
            depth: 100,
            channels: vec![Channel::Patches, Channel::Words, Channel::Passages],
            paths: Vec::new(),
            documents: None,
            explain: false,
            effort: None,
            passages: PassageWeights::default(),
            background: true,
            all: false,
        }
    }

    /// How many hits; 10 by default.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// How many pages each channel finds before they are fused; 100 by default, and at least as
    /// many as there are hits.
    pub fn depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Which channels answer; all by default. When several are asked and there is no model, words
    /// alone answer and a notice says so; a channel that is asked alone answers or is an error.
    pub fn channels(mut self, channels: impl IntoIterator<Item = Channel>) -> Self {
        self.channels = channels.into_iter().collect();
        self
    }

    /// Only documents whose path matches the glob, or another one given.
    pub fn path(mut self, glob: impl Into<String>) -> Self {
        self.paths.push(glob.into());
        self
    }

    /// Only these documents.
    pub fn documents(mut self, documents: impl IntoIterator<Item = DocumentId>) -> Self {
        self.documents = Some(documents.into_iter().collect());
        self
    }

    /// How hard late interaction tries: see [`Effort`]. By default what the index was tuned to,
    /// and [`Effort::Auto`] before.
    pub fn effort(mut self, effort: Effort) -> Self {
        self.effort = Some(effort);
        self
    }

    /// What the two kinds of vectors of the passages count beside words.
    pub fn passage_weights(mut self, weights: PassageWeights) -> Self {
        self.passages = weights;
        self
    }

    /// Whether what a page gives to any question is taken off the scores of its patches; so by
    /// default. Without, pages are ranked by bare MaxSim, which favours pages with many vectors.
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// Whether to give the best pages even where nothing speaks for an answer
    /// ([`Verdict::None`]); by default there are no hits then.
    pub fn all(mut self, all: bool) -> Self {
        self.all = all;
        self
    }

    /// Also says what of each hit answers each query token.
    pub fn explain(mut self, explain: bool) -> Self {
        self.explain = explain;
        self
    }

    /// Ranks pages.
    ///
    /// # Errors
    /// [`Error::Filter`] for a glob, [`Error::Query`] and what the model and the store say.
    pub fn run(&self) -> Result<Answer, Error> {
        let start = Instant::now();
        let ranked = self.rank()?;
        let view = &ranked.view;
        let ids: Vec<PageId> = ranked.ranking.hits.iter().map(|hit| hit.page).collect();
        let documents = view.documents_of(&ids.iter().map(|page| page.document).collect())?;
        let documents = |page: PageId| documents.get(&page.document).map_or(&[][..], Vec::as_slice);
        let (pages, unread) = match view.reader.pages(&ids) {
            Err(error @ StoreError::OutOfReach { .. }) => {
                (view.reader.pages_here(&ids)?, Some(error.to_string()))
            }
            pages => (pages?, None),
        };
        let mut pages = pages.into_iter().peekable();
        let of_hit = |hit: &Hit| -> Result<PageRecord, Error> {
            let page = pages.next_if(|page| page.id == hit.page);
            if unread.is_some() {
                // It was found, and what stands on it cannot be shown now.
                return Ok(page.unwrap_or_else(|| blank(hit.page)));
            }
            // Words and pages are one snapshot; only damage parts them.
            let missing = || Error::PageMissing {
                path: ranked.path_of(hit.page, documents(hit.page)),
                page: hit.page.number,
            };
            page.ok_or_else(missing)
        };
        let records: Vec<PageRecord> =
            ranked.ranking.hits.iter().map(of_hit).collect::<Result<_, _>>()?;
        let hits: Vec<PageHit> = records
            .into_par_iter()
            .enumerate()
            .map(|(at, record)| self.hit(&ranked, at, documents(record.id), record))
            .collect::<Result<_, _>>()?;
        let (work, snapshot) = (ranked.ranking.work, view.reader.snapshot());
        let by_patches = ranked.ranking.channels.contains(&Channel::Patches);
        let recall = snapshot.tuning().filter(|tuning| {
            work.code == Code::Sketch && tuning.compared.is_some_and(|count| count <= work.reranked)
        });
        let compact = snapshot.compact().filter(|_| by_patches);
        let mut notices = ranked.notices;
        notices.extend(ranked.ranking.notices);
        let is_said = notices.iter().any(|notice| matches!(notice, Notice::OutOfReach { .. }));
        notices.extend(unread.filter(|_| !is_said).map(|reason| Notice::OutOfReach { reason }));
        if work.code == Code::Sketch {
            let (compared, seen) = (work.reranked, work.seen);
            let quality = recall.map(|tuning| tuning.quality);
            notices.push(Notice::Compared { compared, seen, quality });
        }
        notices.extend(compact.map(|compact| Notice::Compact { quality: compact.quality }));
        Ok(Answer {
            likelihood: ranked.ranking.likelihood,
            held_back: ranked.held_back,
            recall: recall.cloned(),
            compact: compact.cloned(),
            hits,
            snapshot: snapshot.number(),
            model: ranked.model,
            channels: ranked.ranking.channels,
            timings: ranked.ranking.timings,
            total: start.elapsed(),
            work,
            notices,
        })
    }

    /// The hit `at`, from 0, of a ranking, whose page is `record`.
    fn hit(
        &self,
        ranked: &Ranked,
        at: usize,
        of_document: &[DocumentRecord],
        record: PageRecord,
    ) -> Result<PageHit, Error> {
        let (view, ranking) = (&ranked.view, &ranked.ranking);
        let (engine, path) = (Arc::clone(&self.engine), ranked.path_of(record.id, of_document));
        let hit = &ranking.hits[at];
        let matches = ranking.matches.get(at).map_or(&[][..], Vec::as_slice);
        let passage = ranking.passages.get(at).copied().flatten();
        let passage = passage.map(|found| ranked.passage(&self.engine, found, &record));
        let passage = passage.transpose()?;
        Ok(PageHit {
            rank: at as u32 + 1,
            score: hit.score,
            channels: hit.channels.clone(),
            likelihood: ranking.likelihoods[at],
            matches: matches.iter().map(|found| placed(&record, found)).collect(),
            snippet: self.snippet(view, &record, passage.as_ref())?,
            passage,
            page: Page::new(engine, view.number(), path, of_document, record),
        })
    }

    /// The part of the page's text that answers the words of the question best.
    fn snippet(
        &self,
        view: &View,
        page: &PageRecord,
        passage: Option<&Passage>,
    ) -> Result<Snippet, Error> {
        let words = self.question.words().unwrap_or_default();
        let snippet = view.snippet(words, &page.text)?;
        match passage {
            // Where none of the words is on the page, it was found by what it means.
            Some(passage) if snippet.marks.is_empty() => view.snippet(words, &passage.text),
            _ => Ok(snippet),
        }
    }

    /// Ranks pages without reading their words, best first, whatever the verdict.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn ranking(&self) -> Result<Vec<PageId>, Error> {
        Ok(self.clone().all(true).ranking_with_work()?.0)
    }

    /// Ranks pages without reading their words, whatever the verdict: each with what the channels
    /// said of it, best first.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn hits(&self) -> Result<Vec<Hit>, Error> {
        Ok(self.clone().all(true).rank()?.ranking.hits)
    }

    /// As [`ranking`](Self::ranking), with what late interaction did.
    pub(crate) fn ranking_with_work(&self) -> Result<(Vec<PageId>, Work), Error> {
        let ranking = self.rank()?.ranking;
        Ok((ranking.hits.iter().map(|hit| hit.page).collect(), ranking.work))
    }

    fn rank(&self) -> Result<Ranked, Error> {
        match self.rank_once() {
            // A part has gone on to a newer snapshot, and so does its router.
            Err(error) if error.is_of_another_snapshot() => {
                self.engine.refresh()?;
                self.rank_once()
            }
            ranked => ranked,
        }
    }

    fn rank_once(&self) -> Result<Ranked, Error> {
        let view = self.engine.latest()?;
        let filter = if self.paths.is_empty() {
            None
        } else {
            let ledger = view.ledger()?;
            Some(PathFilter::of_ledger(&self.paths, |path| ledger.has_path(path))?)
        };
        let documents_of = |filter: &PathFilter| -> Result<HashSet<DocumentId>, Error> {
            Ok(view.ledger()?.documents_where(|path| filter.matches(path)))
        };
        let matching = filter.as_ref().map(documents_of).transpose()?;
        let documents = match (matching, &self.documents) {
            (Some(matching), Some(wanted)) => {
                Some(matching.intersection(wanted).copied().collect())
            }
            (matching, wanted) => matching.or_else(|| wanted.clone()),
        };
        let mut notices = Vec::new();
        let model = self.model(&mut notices)?;
        let effort = self.effort.unwrap_or_else(|| view.effort());
        let (codes, damage) = match effort {
            Effort::Exact => (None, None),
            _ if !self.channels.contains(&Channel::Patches) => (None, None),
            _ => view.codes(),
        };
        let damaged = damage.is_some();
        notices.extend(damage.map(|reason| Notice::CodesDamaged { reason: reason.into() }));
        let record = model.as_deref().map(Model::record);
        let mut channels = self.channels.clone();
        let embedder = self.embedder(&view, &mut channels, &mut notices)?;
        let encoder_of_passages = embedder.as_deref().map(|encoder| RememberingPassages {
            encoder,
            model: encoder.record().id,
            kept: &self.engine.meant,
        });
        let passages = encoder_of_passages.as_ref().zip(view.passages().0);
        let passages = passages.map(|(encoder, codes)| PassageSource {
            encoder: encoder as &dyn PassageEncoder,
            pooled: &codes.pooled,
            tokens: &codes.tokens,
        });
        let remembering = model.as_deref().zip(record.as_ref()).map(|(model, record)| {
            Remembering { encoder: model, model: &record.id, kept: &self.engine.questions }
        });
        let sources = Sources {
            codes,
            passages,
            encoder: remembering.as_ref().map(|encoder| encoder as &dyn QueryEncoder),
            backgrounds: Some(&view.backgrounds),
            parts: view.joined().filter(|_| effort != Effort::Exact),
            ..Sources::new(&view.reader, view.text())
        };
        let request = Request {
            channels,
            k: self.k,
            depth: self.depth,
            documents: documents.as_ref(),
            explain: self.explain,
            effort,
            background: self.background,
            model: record.as_ref().map(|record| &record.id),
            fusion: record.as_ref().map(|record| record.fusion).unwrap_or_default(),
            passages: self.passages,
            ..Request::new(&self.question)
        };
        let mut ranking = pagesight_query::search(&sources, &request)?;
        if notices.iter().any(|notice| matches!(notice, Notice::ModelOutOfReach { .. })) {
            // It says why there is none.
            ranking.notices.retain(|notice| *notice != Notice::NoModel);
        }
        let codes_failed = |notice: &Notice| matches!(notice, Notice::CodesDamaged { .. });
        if damaged || ranking.notices.iter().any(codes_failed) {
            // The next run derives them again.
            view.reader.report_damaged_codes();
        }
        let record = record.filter(|_| ranking.channels.contains(&Channel::Patches));
        if ranking.notices.iter().any(|n| matches!(n, Notice::PassagesDamaged { .. })) {
            // The next run encodes the texts again.
            view.reader.report_damaged_passages();
        }
        let nothing = ranking.likelihood.is_some_and(|of| of.verdict == Verdict::None);
        let held_back = if nothing && !self.all { ranking.hold_back() } else { 0 };
        let model = record.map(|record| record.id);
        Ok(Ranked { ranking, held_back, model, embedder, notices, filter, view })
    }

    /// The model of meaning that encodes the question, where one is needed and there. Takes the
    /// passages off `channels` where they cannot answer and others can: most indexes of words alone
    /// have none, and that needs no notice.
    fn embedder(
        &self,
        view: &View,
        channels: &mut Vec<Channel>,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<Arc<dyn PassageEncoder>>, Error> {
        if !channels.contains(&Channel::Passages) || self.question.words().is_none() {
            return Ok(None);
        }
        let alone = channels.len() == 1;
        let found = match (view.passages(), self.engine.query_embedder()) {
            ((None, Some(damage)), _) if alone => {
                return Err(QueryError::Passages { reason: damage.into() }.into());
            }
            ((None, Some(damage)), _) => {
                view.reader.report_damaged_passages();
                notices.push(Notice::PassagesDamaged { reason: damage.into() });
                None
            }
            ((None, None), _) => None,
            (_, Err(error)) if alone => return Err(error),
            (_, Err(error)) => {
                notices.push(Notice::EmbedderOutOfReach { reason: chain(&error) });
                None
            }
            (_, Ok(encoder)) => encoder,
        };
        if found.is_none() && !alone {
            channels.retain(|channel| *channel != Channel::Passages);
        }
        Ok(found)
    }

    /// The model that encodes the question, where one is needed and there.
    fn model(&self, notices: &mut Vec<Notice>) -> Result<Option<Arc<dyn Model>>, Error> {
        if !self.channels.contains(&Channel::Patches) {
            return Ok(None);
        }
        let needed = matches!(self.question, Question::Words(_));
        let alone = self.channels.len() == 1;
        match self.engine.query_model() {
            Err(_) if !needed => Ok(None),
            Err(error) if !alone && is_out_of_reach(&error) => {
                notices.push(Notice::ModelOutOfReach { reason: error.to_string() });
                Ok(None)
            }
            found => found,
        }
    }
}

/// What is known of a page whose record is out of reach: which one it is.
fn blank(id: PageId) -> PageRecord {
    let (size, text_source) = (PageSize { width_pt: 0.0, height_pt: 0.0 }, TextSource::None);
    PageRecord { id, size, text: String::new(), text_source, vectors: None, layout: None }
}

/// Whether the model that the index was made with is not on this machine any more; of the one
/// inside the program, another version may have taken its place.
fn is_out_of_reach(error: &Error) -> bool {
    match error {
        Error::ModelGone { .. } | Error::ModelNotBrought { .. } => true,
        Error::ModelChanged { source_of, .. } => *source_of == Some(ModelSource::Nano),
        _ => false,
    }
}

/// Where the vector that a token met is on its page.
fn placed(page: &PageRecord, found: &TokenMatch) -> PatchMatch {
    let rect = page.layout.as_ref().and_then(|layout| layout.rect(found.place, page.size));
    PatchMatch { token: found.token.clone(), similarity: found.similarity, rect }
}

struct Ranked {
    ranking: Ranking,
    held_back: usize,
    model: Option<ModelId>,
    embedder: Option<Arc<dyn PassageEncoder>>,
    notices: Vec<Notice>,
    filter: Option<PathFilter>,
    view: Arc<View>,
}

impl Ranked {
    /// The passage of `page` that is most like the question.
    fn passage(
        &self,
        engine: &Engine,
        found: PassageMatch,
        page: &PageRecord,
    ) -> Result<Passage, Error> {
        let ranges = match &self.embedder {
            Some(encoder) => engine.passages_of(&**encoder, page)?,
            None => Arc::default(),
        };
        let range = ranges.get(found.passage).cloned().unwrap_or_default();
        let text = page.text.get(range.clone()).unwrap_or_default().to_string();
        Ok(Passage { text, range, similarity: found.similarity })
    }

    /// The first path of a page's document that the filter lets through, of those `of_document`.
    fn path_of(&self, page: PageId, of_document: &[DocumentRecord]) -> String {
        let mut paths = of_document.iter().map(|document| &document.path);
        let passes = |path: &&String| self.filter.as_ref().is_none_or(|f| f.matches(path));
        paths.find(passes).cloned().unwrap_or_else(|| page.document.to_string())
    }
}
