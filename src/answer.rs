//! Answers: ranked pages, why each was found, and how the search went. All of it is owned, so an
//! answer can leave a handler, a thread and, as JSON, a process.

use std::time::Duration;

use pagesight_core::{Channel, ChannelScore, ModelId, Rect};
use pagesight_query::{Likelihood, Notice, Timings, Verdict, Work};
use pagesight_store::{Compact, Snippet, Tuning};

use crate::page::Page;

/// A query token and the patch of a page that answers it best.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PatchMatch {
    /// The token's text.
    pub token: String,
    /// Their dot product: what the token adds to the score of the patches.
    pub similarity: f32,
    /// Where the patch is, points; `None` when a vector without a place on the page answers best.
    pub rect: Option<Rect>,
}

/// A ranked page and the reasons why.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PageHit {
    /// 1-based.
    pub rank: u32,
    /// The score that ranks it: fused, or the channel's own when one answered.
    pub score: f32,
    /// What each channel said that had the page among its best. Of patches, scores after the first
    /// `k` ranks are estimates from codes.
    pub channels: Vec<ChannelScore>,
    /// How likely the page answers; `None` where nothing was fitted for what found it.
    pub likelihood: Option<Likelihood>,
    /// What of the page answers each query token; empty unless asked for.
    pub matches: Vec<PatchMatch>,
    /// The part of the page's text that answers the question's words best; empty when the question
    /// has no words, or the page has none.
    pub snippet: Snippet,
    /// The page.
    pub page: Page,
}

impl PageHit {
    /// What `channel` said of the page; `None` when it was not among its best.
    pub fn channel(&self, channel: Channel) -> Option<&ChannelScore> {
        self.channels.iter().find(|said| said.channel == channel)
    }

    /// Whether its words found it by its path or title alone: no word of the question is on the
    /// page itself.
    pub fn is_by_name(&self) -> bool {
        self.channel(Channel::Words).is_some() && self.snippet.marks.is_empty()
    }
}

/// Ranked pages and how they were found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Answer {
    /// Best first.
    pub hits: Vec<PageHit>,
    /// How likely one of the hits answers; `None` where nothing was fitted for what found them, as
    /// with pictures of pages whose words are not known and a model of your own.
    pub likelihood: Option<Likelihood>,
    /// Pages that are held back since nothing speaks for an answer;
    /// [`Search::all`](crate::search::Search::all) gives them.
    pub held_back: usize,
    /// The snapshot that answered.
    pub snapshot: u64,
    /// The model that looked; `None` when only words answered.
    pub model: Option<ModelId>,
    /// The channels that answered.
    pub channels: Vec<Channel>,
    /// Where the time went.
    pub timings: Timings,
    /// From call to answer.
    pub total: Duration,
    /// What late interaction did.
    pub work: Work,
    /// What an approximate ranking was measured to lose; `None` when it is exact, or was never
    /// measured on these pages.
    pub recall: Option<Tuning>,
    /// What it was measured to lose that a compact index keeps its vectors in codes alone; `None`
    /// for others, and when only words answered.
    pub compact: Option<Compact>,
    /// What a reader should know of the ranking, e.g. that words alone answered although pictures
    /// were asked too. Each is data; its `Display` is a line for a person.
    pub notices: Vec<Notice>,
}

impl Answer {
    /// The notices on one line for a person; `None` when there are none.
    pub fn notice(&self) -> Option<String> {
        let lines: Vec<String> = self.notices.iter().map(ToString::to_string).collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// What to say of the answer; [`Verdict::None`] when it has no hits, and [`Verdict::Weak`] where
    /// nothing was fitted for what found them.
    pub fn verdict(&self) -> Verdict {
        match self.likelihood {
            Some(likelihood) => likelihood.verdict,
            None if self.hits.is_empty() => Verdict::None,
            None => Verdict::Weak,
        }
    }

    /// How long `channel` took to read and score, if it answered.
    pub fn time_of(&self, channel: Channel) -> Duration {
        let times = self.timings.channels.iter();
        times.filter(|(of, _)| *of == channel).map(|(_, time)| *time).sum()
    }

    /// Whether every rank is that of exact MaxSim, or words alone answered.
    pub fn is_exact(&self) -> bool {
        !self.notices.iter().any(Notice::is_approximation)
    }
}
