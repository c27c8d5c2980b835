//! Measuring searches on the pages of an index: what approximations lose, what codes cost, and how
//! good rankings are.

use pagesight_core::seam::VectorSource;
use pagesight_core::{PageId, PageVectors};
use pagesight_query::measure::tune::{measure_receipt, measure_settings, question_of};
use pagesight_query::measure::{Probe, codes};
use pagesight_query::{QueryError, Sources};
use pagesight_store::{Compact, Tuning, Writer};

use crate::error::Error;
use crate::index::Index;
use crate::view::View;

pub use pagesight_core::Quality;
pub use pagesight_query::measure::codes::{CODES, COMPACT, CodeCost, cheapest};
pub use pagesight_query::measure::metrics::{
    LabelledQuery, Measures, QueriesError, Tally, gain, mean, measure, overlap, parse_queries,
    quantile,
};
pub use pagesight_query::measure::tune::{FAST_ENOUGH, Receipt, Setting, choose};

/// A question to measure searches with, and the pages that answer it.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// What a user would type.
    pub text: String,
    /// Its answers; empty when they are not known.
    pub answers: Vec<PageId>,
}

impl Index {
    /// Asks `questions` exactly and by comparing fewer pages, or only by comparing `compared`, on all
    /// pages. The exact setting comes first. `done` is called after each question.
    ///
    /// # Errors
    /// [`Error::Query`] with [`QueryError::NoModel`] when the index has no model, and what the
    /// model and the store say.
    pub fn measure_settings(
        &self,
        questions: &[Labelled],
        compared: Option<usize>,
        done: &mut dyn FnMut(),
    ) -> Result<Vec<Setting>, Error> {
        let (probes, view) = (self.probes(questions)?, self.engine().latest()?);
        Ok(measure_settings(&sources(&view), &probes, compared, done)?)
    }

    /// Asks each of `questions` as searches of this index do and exactly, and compares. `done` is
    /// called after each question.
    ///
    /// # Errors
    /// As [`measure_settings`](Self::measure_settings).
    pub fn measure_receipt(
        &self,
        questions: &[Labelled],
        done: &mut dyn FnMut(),
    ) -> Result<Receipt, Error> {
        let (probes, view) = (self.probes(questions)?, self.engine().latest()?);
        Ok(measure_receipt(&sources(&view), &probes, view.effort(), done)?)
    }

    /// Measures `codes` (see [`CODES`]) on at most `max_pages` pages, evenly spread, and
    /// `questions`. `starting` is called with the name of each code before it is measured. Memory:
    /// the vectors of those pages twice. Of a compact index nothing: there are no full-precision
    /// vectors to measure codes against.
    ///
    /// # Errors
    /// As [`measure_settings`](Self::measure_settings).
    pub fn measure_codes(
        &self,
        questions: &[Labelled],
        max_pages: usize,
        codes: &[&str],
        starting: &mut dyn FnMut(&'static str),
    ) -> Result<Vec<CodeCost>, Error> {
        let probes = self.probes(questions)?;
        let view = self.engine().latest()?;
        let snapshot = view.reader.snapshot();
        if snapshot.compact().is_some() {
            return Ok(Vec::new());
        }
        let step = (snapshot.pages() as usize).div_ceil(max_pages.max(1)).max(1);
        let (mut pages, mut seen) = (Vec::new(), 0usize);
        let answers = |id: &PageId| questions.iter().any(|question| question.answers.contains(id));
        let mut collect = |batch: &[(PageId, PageVectors)]| {
            for page in batch {
                if seen.is_multiple_of(step) || answers(&page.0) {
                    pages.push(page.clone());
                }
                seen += 1;
            }
        };
        view.reader.scan(None, &mut collect).map_err(QueryError::Vectors)?;
        let costs = codes::measure_codes(&pages, &probes, codes, starting);
        Ok(costs.map_err(QueryError::Dim)?)
    }

    /// Lets searches of this index, in all processes, take `setting` from now on; `None` leaves it
    /// to them again: exact, unless there are very many pages.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when another process writes.
    pub fn apply(&self, setting: Option<&Setting>) -> Result<(), Error> {
        let snapshot = self.engine().latest()?.number();
        let tuning =
            setting.map(|setting| Tuning::new(setting.compared, setting.quality, snapshot));
        Writer::open(self.folder())?.set_tuning(tuning)?;
        self.refresh()
    }

    /// Keeps the vectors in residual codes alone from now on, a quarter of the bytes: full-precision
    /// vectors are removed, and what is added later is kept the same way. `quality` is what
    /// [`measure_codes`](Self::measure_codes) measured for [`COMPACT`]; answers name it. Returns
    /// false, and changes nothing, when the index is compact already or has no vectors.
    ///
    /// # Errors
    /// [`Error::Store`], e.g. when another process writes; the index is as it was.
    pub fn compact(&self, quality: Quality) -> Result<bool, Error> {
        let snapshot = self.engine().latest()?.number();
        let done = Writer::open(self.folder())?.compact(Compact::new(quality, snapshot))?;
        self.refresh()?;
        if done {
            // This process held the full-precision vectors until now.
            Writer::open(self.folder())?.collect_garbage()?;
        }
        Ok(done)
    }

    /// At most `count` questions made from the words of pages, evenly spread: eight words from the
    /// middle of each. Pages with fewer words give none.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Query`].
    pub fn questions_from_pages(&self, count: usize) -> Result<Vec<Labelled>, Error> {
        let view = self.engine().latest()?;
        let mut ids = Vec::new();
        match view.codes().0 {
            Some(codes) => ids.extend(codes.ids()),
            None => {
                let mut collect = |batch: &[(PageId, PageVectors)]| {
                    ids.extend(batch.iter().map(|(id, _)| *id));
                };
                view.reader.scan(None, &mut collect).map_err(QueryError::Vectors)?;
            }
        }
        ids.sort_unstable();
        let step = ids.len().div_ceil(count.max(1)).max(1);
        let ids: Vec<PageId> = ids.into_iter().step_by(step).collect();
        let pages = view.reader.pages(&ids)?;
        let questions = pages.iter().filter_map(|page| {
            Some(Labelled { text: question_of(&page.text)?, answers: vec![page.id] })
        });
        Ok(questions.collect())
    }

    /// `questions` as vectors.
    fn probes(&self, questions: &[Labelled]) -> Result<Vec<Probe>, Error> {
        let model = self.engine().query_model()?.ok_or(QueryError::NoModel)?;
        let texts: Vec<&str> = questions.iter().map(|question| question.text.as_str()).collect();
        let encoded = model.encode_queries(&texts).map_err(QueryError::Encode)?;
        let probe =
            |(query, question): (_, &Labelled)| Probe { query, answers: question.answers.clone() };
        Ok(encoded.into_iter().zip(questions).map(probe).collect())
    }
}

fn sources(view: &View) -> Sources<'_> {
    let backgrounds = Some(&view.backgrounds);
    Sources { codes: view.codes().0, backgrounds, ..Sources::new(&view.reader, &view.reader) }
}
