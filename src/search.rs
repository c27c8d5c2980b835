//! A search, from the question to hits that can show their page.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pagesight_core::seam::QueryEncoder;
use pagesight_core::{ChannelScore, DocumentId, ModelId, PageId, PageSize, Rect};
use pagesight_model::{ColPali, is_embedded};
use pagesight_query::{
    Channel, Channels, Code, Fusion, PathFilter, QueryError, Request, Shortcut, Timings,
    TokenMatch, Work,
};
use pagesight_store::{ANALYSIS, Compact, Snippet, Tuning};

use crate::index::View;
use crate::{Error, Index, Page};

/// How deep each channel looks before fusion.
const DEPTH: usize = 100;
/// Said of queries in letters that the model cannot spell.
const WORDS_ALONE: &str = "the model cannot read most letters of this query: words alone answer";
/// Said of an index whose words an earlier pagesight analysed.
const OLDER_WORDS: &str =
    "an earlier pagesight analysed the words of this index: the next run analyses them anew";

/// A search being put together.
#[derive(Clone)]
pub struct Search<'a> {
    index: &'a Index,
    query: &'a str,
    k: usize,
    channel: Channel,
    paths: Vec<String>,
    documents: Option<HashSet<DocumentId>>,
    explain: bool,
    exact: bool,
    shortcut: Option<Shortcut>,
}

/// A query token and the patch of a page that answers it best.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchMatch {
    /// The token's text.
    pub token: String,
    /// Their dot product: what the token adds to the visual score.
    pub similarity: f32,
    /// Where the patch is, points; `None` when a vector of the prompt answers best.
    pub rect: Option<Rect>,
}

/// A ranked page and the reasons why.
pub struct PageHit<'a> {
    /// 1-based.
    pub rank: u32,
    /// The score that ranks it: fused, or the channel's own when one answered.
    pub score: f32,
    /// What late interaction said, when the page was among its best; after its first `k` ranks an
    /// estimate from codes.
    pub visual: Option<ChannelScore>,
    /// What the words said, when the page was among the best.
    pub text: Option<ChannelScore>,
    /// What of the page answers each query token; empty unless asked for.
    pub matches: Vec<PatchMatch>,
    /// The page.
    pub page: Page<'a>,
}

impl PageHit<'_> {
    /// Whether its words found it by its path or title alone: no word of the query, whose
    /// [snippet](Page::snippet) is given, is on the page.
    pub fn is_by_name(&self, snippet: &Snippet) -> bool {
        self.text.is_some() && snippet.marks.is_empty()
    }
}

/// Ranked pages and how they were found.
pub struct Answer<'a> {
    /// Best first.
    pub hits: Vec<PageHit<'a>>,
    /// The snapshot that answered.
    pub snapshot: u64,
    /// The model that looked; `None` when only words answered.
    pub model: Option<ModelId>,
    /// Where the time went.
    pub timings: Timings,
    /// From call to answer.
    pub total: Duration,
    /// What late interaction did.
    pub work: Work,
    /// What the shortcut of late interaction was measured to cost; `None` when it took none, or
    /// nobody has measured it.
    pub recall: Option<Tuning>,
    /// What it was measured to cost that a compact index has no whole vectors; `None` for others, and
    /// when only words answered.
    pub compact: Option<Compact>,
    /// Why words alone answered although both channels were asked, all vectors were read although
    /// there are codes, or that the ranking is an approximation; one line.
    pub notice: Option<String>,
}

impl<'a> Search<'a> {
    pub(crate) fn new(index: &'a Index, query: &'a str) -> Self {
        Self {
            index,
            query,
            k: 10,
            channel: Channel::Both,
            paths: Vec::new(),
            documents: None,
            explain: false,
            exact: false,
            shortcut: None,
        }
    }

    /// How many hits; 10 by default.
    pub fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// Which channels answer; both by default.
    pub fn channel(mut self, channel: Channel) -> Self {
        self.channel = channel;
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

    /// Reads all vectors instead of scanning their codes first. The pages that the visual channel
    /// finds are the same; with both channels, its ranks after the first `k` are exact too. This is
    /// what a search is measured against.
    pub fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Whether the visual ranking may be approximate. By default what the index was tuned to, and
    /// [`Shortcut::Auto`] before.
    pub fn shortcut(mut self, shortcut: Shortcut) -> Self {
        self.shortcut = Some(shortcut);
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
    pub fn run(&self) -> Result<Answer<'a>, Error> {
        let start = Instant::now();
        let ranked = self.rank()?;
        let view = &ranked.view;
        let ids: Vec<PageId> = ranked.ranking.hits.iter().map(|hit| hit.page).collect();
        let mut pages = view.reader.pages(&ids)?.into_iter();
        let mut hits = Vec::with_capacity(ids.len());
        let mut matches = ranked.ranking.matches.iter();
        for (hit, rank) in ranked.ranking.hits.iter().zip(1..) {
            let Some(record) = pages.next().filter(|page| page.id == hit.page) else {
                // Words and pages are one snapshot; only damage parts them.
                let reason = Some("the text index names it, the pages table lacks it".into());
                let (path, page) = (ranked.path_of(hit.page), hit.page.number);
                return Err(Error::NoSuchPage { path, page, reason });
            };
            let size = record.size;
            let matches = matches.next().map_or(&[][..], Vec::as_slice);
            let matches = matches.iter().map(|found| place(view, found, size)).collect();
            let (path, view) = (ranked.path_of(hit.page), Arc::clone(view));
            let joined = OnceLock::new();
            let page = Page { index: self.index, view, path, record, joined };
            let (score, visual, text) = (hit.score, hit.visual, hit.text);
            hits.push(PageHit { rank, score, visual, text, matches, page });
        }
        let work = ranked.ranking.work;
        let tuning = view.reader.snapshot().tuning.as_ref();
        let recall = tuning.filter(|t| t.compared.is_some_and(|count| count <= work.reranked));
        let recall = recall.filter(|_| work.code == Code::Sketch).cloned();
        let notice = ranked.notice.or(ranked.ranking.notice);
        let notice = notice.or_else(|| ranked.ranking.words_alone.then(|| WORDS_ALONE.into()));
        let older = view.reader.snapshot().analysis != ANALYSIS && ranked.ranking.text;
        let compact = view.reader.snapshot().compact.as_ref();
        let compact = compact.filter(|_| ranked.ranking.visual).cloned();
        let approximate = || approximation(work, &recall, &compact);
        Ok(Answer {
            notice: notice.or_else(approximate).or_else(|| older.then(|| OLDER_WORDS.into())),
            recall: recall.clone(),
            compact: compact.clone(),
            hits,
            snapshot: view.reader.snapshot().number,
            model: ranked.model,
            timings: ranked.ranking.timings,
            total: start.elapsed(),
            work,
        })
    }

    /// Ranks pages without reading their words, best first.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn ranking(&self) -> Result<Vec<PageId>, Error> {
        Ok(self.rank()?.ranking.hits.iter().map(|hit| hit.page).collect())
    }

    /// As [`ranking`](Self::ranking), with what late interaction did.
    pub(crate) fn ranking_with_work(&self) -> Result<(Vec<PageId>, Work), Error> {
        let ranking = self.rank()?.ranking;
        Ok((ranking.hits.iter().map(|hit| hit.page).collect(), ranking.work))
    }

    fn rank(&self) -> Result<Ranked, Error> {
        let view = self.index.latest()?;
        let filter = match self.paths.is_empty() {
            true => None,
            false => Some(PathFilter::of_ledger(&self.paths, |path| view.has_path(path))?),
        };
        let matching =
            filter.as_ref().map(|filter| view.documents_where(|path| filter.matches(path)));
        let documents = match (matching, &self.documents) {
            (Some(matching), Some(wanted)) => {
                Some(matching.intersection(wanted).copied().collect())
            }
            (matching, wanted) => matching.or_else(|| wanted.clone()),
        };
        let mut notice = None;
        let model = match self.channel {
            Channel::Text => None,
            Channel::Visual | Channel::Both => match self.index.query_model() {
                Ok(None) => {
                    notice = Some("no vision model: words alone answer".to_string());
                    None
                }
                Ok(model) => model,
                Err(error) if self.channel == Channel::Both && is_out_of_reach(&error) => {
                    notice = Some(format!("{error}: words alone answer"));
                    None
                }
                Err(error) => return Err(error),
            },
        };
        if self.channel == Channel::Visual && model.is_none() {
            return Err(QueryError::NoModel.into());
        }
        let (codes, damage) = match model {
            Some(_) if !self.exact => view.codes(),
            _ => (None, None),
        };
        let damaged = damage.is_some();
        let notice = notice.or(damage.map(|why| format!("{why}: all vectors were read")));
        let channels = Channels {
            vectors: &view.reader,
            codes,
            encoder: model.as_deref().map(|model| model as &dyn QueryEncoder),
            text: &view.reader,
        };
        let request = Request {
            query: self.query,
            channel: self.channel,
            k: self.k,
            depth: DEPTH,
            documents: documents.as_ref(),
            explain: self.explain,
            shortcut: self.shortcut.unwrap_or_else(|| tuned(&view)),
            fusion: model.as_deref().map(fusion_of).unwrap_or_default(),
        };
        let ranking = pagesight_query::search(&channels, &request)?;
        if damaged || ranking.notice.is_some() {
            // The next run derives them again.
            view.reader.doubt_codes();
        }
        let model = model.map(|model| QueryEncoder::model_id(&*model).clone());
        let model = model.filter(|_| ranking.visual);
        Ok(Ranked { ranking, model, notice, filter, view })
    }
}

/// How far the pictures of `model` are to be trusted beside words.
fn fusion_of(model: &ColPali) -> Fusion {
    let trust = model.recipe().fusion;
    Fusion { visual_weight: trust.visual_weight, visual_margin: trust.visual_margin }
}

/// Whether the model that the index was made with is not on this machine any more; of the one
/// inside the program, another version may have taken its place.
fn is_out_of_reach(error: &Error) -> bool {
    match error {
        Error::ModelGone { .. } => true,
        Error::ModelChanged { folder, .. } => is_embedded(folder),
        _ => false,
    }
}

/// What the index was tuned to.
fn tuned(view: &View) -> Shortcut {
    match &view.reader.snapshot().tuning {
        None => Shortcut::Auto,
        Some(Tuning { compared: None, .. }) => Shortcut::Never,
        Some(Tuning { compared: Some(count), .. }) => Shortcut::Best(*count),
    }
}

/// That the ranking is an approximation, where it is one, and of what quality.
fn approximation(work: Work, recall: &Option<Tuning>, compact: &Option<Compact>) -> Option<String> {
    let quality = |overlap10: f64, ndcg_ratio: f64, questions: usize| {
        format!("overlap@10 {overlap10:.3} and nDCG ratio {ndcg_ratio:.3} in {questions} questions")
    };
    let shortened = (work.code == Code::Sketch).then(|| {
        let measured = match recall {
            None => "not measured on these pages, `pagesight tune` does".into(),
            Some(tuning) => quality(tuning.overlap10, tuning.ndcg_ratio, tuning.questions),
        };
        let Work { reranked, seen, .. } = work;
        format!("{reranked} of {seen} pages were compared; {measured}")
    });
    let rounded = compact.as_ref().map(|cost| {
        let measured = quality(cost.overlap10, cost.ndcg_ratio, cost.questions);
        format!("vectors are kept in 4 bits; {measured}")
    });
    let reasons: Vec<String> = [shortened, rounded].into_iter().flatten().collect();
    (!reasons.is_empty()).then(|| format!("approximate: {}", reasons.join("; ")))
}

/// Where the vector that a token met is on a page of `size`.
fn place(view: &View, found: &TokenMatch, size: PageSize) -> PatchMatch {
    let stored = view.reader.snapshot().model.as_ref();
    let rect = stored.and_then(|stored| stored.grid.rect(found.place, size));
    PatchMatch { token: found.token.clone(), similarity: found.similarity, rect }
}

struct Ranked {
    ranking: pagesight_query::Ranking,
    model: Option<ModelId>,
    notice: Option<String>,
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
