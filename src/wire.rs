//! The one JSON of answers. The command line prints it, and whatever else hands answers to other
//! programs prints the same: the same hit has the same fields everywhere.
//!
//! Fields are added within a version (`"v": 1`), never changed: readers ignore what they do not
//! know.

use std::time::Duration;

use pagesight_core::{Area, Channel, ChannelScore, Quality, Rect};
use pagesight_query::{Code, Likelihood, Notice, Verdict};
use pagesight_store::Snippet;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::answer::{Answer, PageHit, Passage, PatchMatch};
use crate::encoded::EncodedQuestion;
use crate::region::{PlacedText, Region, RegionKind};

/// The version of the fields.
pub const VERSION: u32 = 1;

/// What one channel said, without its name.
#[derive(Serialize)]
struct Said {
    score: f32,
    rank: u32,
}

impl Said {
    fn of(score: Option<&ChannelScore>) -> Option<Self> {
        score.map(|said| Self { score: said.score, rank: said.rank })
    }
}

impl Serialize for PatchMatch {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("PatchMatch", 3)?;
        object.serialize_field("token", &self.token)?;
        object.serialize_field("similarity", &self.similarity)?;
        object.serialize_field(
            "rect_pt",
            &self.rect.map(|Rect { x0, y0, x1, y1 }| [x0, y0, x1, y1]),
        )?;
        object.end()
    }
}

impl Serialize for Passage {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("Passage", 2)?;
        object.serialize_field("text", &self.text)?;
        object.serialize_field("similarity", &self.similarity)?;
        object.end()
    }
}

impl Serialize for PageHit {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (page, size) = (&self.page, self.page.size());
        let mut object = to.serialize_struct("PageHit", 19)?;
        object.serialize_field("rank", &self.rank)?;
        object.serialize_field("path", page.path())?;
        object.serialize_field("page", &page.number())?;
        object.serialize_field("score", &self.score)?;
        object.serialize_field("verdict", &self.likelihood.map(|of| of.verdict))?;
        object.serialize_field("probability", &self.likelihood.map(probability))?;
        object.serialize_field("visual", &Said::of(self.channel(Channel::Patches)))?;
        object.serialize_field("text", &Said::of(self.channel(Channel::Words)))?;
        object.serialize_field("meaning", &Said::of(self.channel(Channel::Passages)))?;
        object.serialize_field("channels", &self.channels)?;
        object.serialize_field("by_name", &self.is_by_name())?;
        object.serialize_field("snippet", &self.snippet.text)?;
        object.serialize_field("marks", &marks(&self.snippet))?;
        object.serialize_field("passage", &self.passage)?;
        object.serialize_field("document", &page.document())?;
        object.serialize_field("ref", &page.reference().to_string())?;
        object.serialize_field("size_pt", &[size.width_pt, size.height_pt])?;
        object.serialize_field("text_source", &page.text_source())?;
        object.serialize_field("matches", &self.matches)?;
        object.end()
    }
}

/// Three decimals: more are not known.
fn probability(likelihood: Likelihood) -> f64 {
    (f64::from(likelihood.probability) * 1e3).round() / 1e3
}

/// A rectangle as it is written: left, top, right and bottom, points with two decimals.
pub fn rect_pt(rect: Rect) -> [f64; 4] {
    [rect.x0, rect.y0, rect.x1, rect.y1].map(|pt| (f64::from(pt) * 100.0).round() / 100.0)
}

impl Serialize for PlacedText {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut object = to.serialize_struct("PlacedText", 3)?;
        object.serialize_field("text", &self.text)?;
        object.serialize_field("rect_pt", &rect_pt(self.rect))?;
        object.serialize_field("line", &self.line)?;
        object.end()
    }
}

impl Serialize for Region {
    /// All but the words with their places.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let kind = match self.kind {
            RegionKind::Text => "text",
            RegionKind::Picture => "picture",
        };
        let Area { x0, y0, x1, y1 } = self.share;
        let share = [x0, y0, x1, y1].map(|part| (f64::from(part) * 1e5).round() / 1e5);
        let mut object = to.serialize_struct("Region", 8)?;
        object.serialize_field("rank", &self.rank)?;
        object.serialize_field("score", &((f64::from(self.score) * 1e4).round() / 1e4))?;
        object.serialize_field("rect_pt", &rect_pt(self.rect))?;
        object.serialize_field("rect_rel", &share)?;
        object.serialize_field("kind", kind)?;
        object.serialize_field("snap", self.snap.as_str())?;
        object.serialize_field("text", &self.text)?;
        object.serialize_field("query_words", &self.question_words)?;
        object.end()
    }
}

/// The query tokens of a question: number, text, and the word that each is of.
pub fn tokens(question: &EncodedQuestion) -> Vec<Value> {
    let words = question.words_of_tokens();
    let tokens = question.vectors().tokens().iter().zip(words).enumerate();
    tokens
        .map(|(index, (token, word))| json!({"index": index, "text": token.text, "word": word}))
        .collect()
}

/// The words of a question: number, text, place in characters, and tokens.
pub fn words(question: &EncodedQuestion) -> Vec<Value> {
    let characters = |byte: usize| question.text()[..byte].chars().count();
    let words = question.words().iter().enumerate();
    words
        .map(|(index, word)| {
            json!({
                "index": index,
                "text": word.text,
                "start": characters(word.range.start),
                "end": characters(word.range.end),
                "tokens": word.tokens,
            })
        })
        .collect()
}

/// The marks of a snippet in characters, which is what most readers of JSON count.
fn marks(snippet: &Snippet) -> Vec<[usize; 2]> {
    let characters = |byte: usize| snippet.text[..byte].chars().count();
    snippet.marks.iter().map(|mark| [characters(mark.start), characters(mark.end)]).collect()
}

/// A quality that was measured, and when.
#[derive(Serialize)]
struct Measured {
    #[serde(rename = "overlap@10")]
    overlap10: f64,
    ndcg_ratio: f64,
    questions: usize,
    snapshot: u64,
}

impl Measured {
    fn of(quality: Quality, snapshot: u64) -> Self {
        let Quality { overlap10, ndcg_ratio, questions } = quality;
        Self { overlap10, ndcg_ratio, questions, snapshot }
    }
}

/// Milliseconds, three decimals, by stage.
#[derive(Serialize)]
struct Times {
    total: f64,
    encode: f64,
    visual: f64,
    scan: f64,
    rerank: f64,
    text: f64,
    meaning: f64,
}

/// Milliseconds with three decimals.
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// How a search went: the line that ends its hits on the command line.
#[derive(Serialize)]
pub struct Summary<'a> {
    hits: usize,
    #[serde(flatten)]
    course: Course<'a>,
}

impl<'a> Summary<'a> {
    /// How the search of `answer` went.
    pub fn of(answer: &'a Answer) -> Self {
        Self { hits: answer.hits.len(), course: Course::of(answer) }
    }
}

/// Everything of an answer but its hits.
#[derive(Serialize)]
struct Course<'a> {
    verdict: Verdict,
    probability: Option<f64>,
    held_back: usize,
    snapshot: u64,
    model_id: Option<&'a str>,
    pages_scored: usize,
    pages_reranked: usize,
    code: &'static str,
    reranked_in: &'static str,
    exact: bool,
    exact_ranks: usize,
    channels: &'a [Channel],
    recall: Option<Measured>,
    compact: Option<Measured>,
    ms: Times,
    notice: Option<String>,
    notices: &'a [Notice],
}

impl<'a> Course<'a> {
    fn of(answer: &'a Answer) -> Self {
        let (work, timings) = (&answer.work, &answer.timings);
        Self {
            verdict: answer.verdict(),
            probability: answer.likelihood.map(probability),
            held_back: answer.held_back,
            snapshot: answer.snapshot,
            model_id: answer.model.as_ref().map(|model| model.0.as_str()),
            pages_scored: work.seen,
            pages_reranked: work.reranked,
            code: work.code.as_str(),
            reranked_in: work.again.as_str(),
            exact: !matches!(work.code, Code::Sketch | Code::Residual),
            exact_ranks: work.certain,
            channels: &answer.channels,
            recall: answer.recall.as_ref().map(|t| Measured::of(t.quality, t.snapshot)),
            compact: answer.compact.as_ref().map(|c| Measured::of(c.quality, c.snapshot)),
            ms: Times {
                total: ms(answer.total),
                encode: ms(timings.encode),
                visual: ms(answer.time_of(Channel::Patches)),
                scan: ms(work.scan),
                rerank: ms(work.rerank),
                text: ms(answer.time_of(Channel::Words)),
                meaning: ms(answer.time_of(Channel::Passages)),
            },
            notice: answer.notice(),
            notices: &answer.notices,
        }
    }
}

impl Serialize for Answer {
    /// How the search went, with the list of hits in place of their number.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            hits: &'a [PageHit],
            #[serde(flatten)]
            course: Course<'a>,
        }
        Whole { hits: &self.hits, course: Course::of(self) }.serialize(to)
    }
}
