//! A search, from the question to hits that can show their page.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use pagesight_core::seam::{Model, QueryEncoder};
use pagesight_core::{DocumentId, ModelId, ModelSource, PageRecord};
use pagesight_query::{PathFilter, Ranking, Request, Sources, TokenMatch};

use crate::encoded::Remembering;
use crate::engine::Engine;
use crate::error::Error;
use crate::view::View;

pub use pagesight_core::{Channel, ChannelScore, PageId, Rect};
pub use pagesight_maxsim::maxsim_reference;
pub use pagesight_query::{
    ChannelRanking, Code, Effort, Notice, QueryError, Question, Timings, Wordless, Work, explain,
    fuse,
};
pub use pagesight_store::{Compact, Snippet, Tuning};

pub use crate::answer::{Answer, PageHit, PatchMatch};
pub use crate::page::Page;

/// A search being put together. Owned: it may be kept, cloned and run again, on any thread.
#[derive(Clone)]
#[must_use = "a search does nothing until it is run"]
pub struct Search {
    engine: Arc<Engine>,
    question: Question,
    k: usize,
    channels: Vec<Channel>,
    paths: Vec<String>,
    documents: Option<HashSet<DocumentId>>,
    explain: bool,
    effort: Option<Effort>,
}

impl Search {
    pub(crate) fn new(engine: Arc<Engine>, question: Question) -> Self {
        Self {
            engine,
            question,
            k: 10,
            channels: vec![Channel::Patches, Channel::Words],
            paths: Vec::new(),
            documents: None,
            explain: false,
            effort: None,
        }
    }

    /// How many hits; 10 by default.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
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
        let mut pages = view.reader.pages(&ids)?.into_iter();
        let mut hits = Vec::with_capacity(ids.len());
        let mut matches = ranked.ranking.matches.iter();
        for (hit, rank) in ranked.ranking.hits.iter().zip(1..) {
            let path = ranked.path_of(hit.page);
            let Some(record) = pages.next().filter(|page| page.id == hit.page) else {
                // Words and pages are one snapshot; only damage parts them.
                return Err(Error::PageMissing { path, page: hit.page.number });
            };
            let matches = matches.next().map_or(&[][..], Vec::as_slice);
            hits.push(PageHit {
                rank,
                score: hit.score,
                channels: hit.channels.clone(),
                matches: matches.iter().map(|found| placed(&record, found)).collect(),
                snippet: self.snippet(view, &record),
                page: Page::new(Arc::clone(&self.engine), view, path, record),
            });
        }
        let (work, snapshot) = (ranked.ranking.work, view.reader.snapshot());
        let by_patches = ranked.ranking.channels.contains(&Channel::Patches);
        let recall = snapshot.tuning().filter(|tuning| {
            work.code == Code::Sketch && tuning.compared.is_some_and(|count| count <= work.reranked)
        });
        let compact = snapshot.compact().filter(|_| by_patches);
        let mut notices = ranked.notices;
        notices.extend(ranked.ranking.notices);
        if work.code == Code::Sketch {
            let (compared, seen) = (work.reranked, work.seen);
            let quality = recall.map(|tuning| tuning.quality);
            notices.push(Notice::Compared { compared, seen, quality });
        }
        notices.extend(compact.map(|compact| Notice::Compact { quality: compact.quality }));
        Ok(Answer {
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

    /// The part of the page's text that answers the words of the question best.
    fn snippet(&self, view: &View, page: &PageRecord) -> Snippet {
        view.reader.snippet(self.question.words().unwrap_or_default(), &page.text)
    }

    /// Ranks pages without reading their words, best first.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn ranking(&self) -> Result<Vec<PageId>, Error> {
        Ok(self.ranking_with_work()?.0)
    }

    /// As [`ranking`](Self::ranking), with what late interaction did.
    pub(crate) fn ranking_with_work(&self) -> Result<(Vec<PageId>, Work), Error> {
        let ranking = self.rank()?.ranking;
        Ok((ranking.hits.iter().map(|hit| hit.page).collect(), ranking.work))
    }

    fn rank(&self) -> Result<Ranked, Error> {
        let view = self.engine.latest()?;
        let filter = if self.paths.is_empty() {
            None
        } else {
            Some(PathFilter::of_ledger(&self.paths, |path| view.has_path(path))?)
        };
        let matching =
            filter.as_ref().map(|filter| view.documents_where(|path| filter.matches(path)));
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
        let remembering = model.as_deref().zip(record.as_ref()).map(|(model, record)| {
            Remembering { encoder: model, model: &record.id, kept: &self.engine.questions }
        });
        let sources = Sources {
            codes,
            encoder: remembering.as_ref().map(|encoder| encoder as &dyn QueryEncoder),
            ..Sources::new(&view.reader, &view.reader)
        };
        let request = Request {
            channels: self.channels.clone(),
            k: self.k,
            documents: documents.as_ref(),
            explain: self.explain,
            effort,
            fusion: record.as_ref().map(|record| record.fusion).unwrap_or_default(),
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
        Ok(Ranked { ranking, model: record.map(|record| record.id), notices, filter, view })
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
    model: Option<ModelId>,
    notices: Vec<Notice>,
    filter: Option<PathFilter>,
    view: Arc<View>,
}

impl Ranked {
    /// The first path of a page's document that the filter lets through.
    fn path_of(&self, page: PageId) -> String {
        let paths = self.view.paths.get(&page.document);
        let mut paths = paths.into_iter().flatten();
        let passes = |path: &&String| self.filter.as_ref().is_none_or(|f| f.matches(path));
        paths.find(passes).cloned().unwrap_or_else(|| page.document.to_string())
    }
}
