//! What a search answers: ranked pages, and how they were found.

use std::time::Duration;

use pagesight_core::{Channel, Hit};

use crate::explain::TokenMatch;
use crate::notice::Notice;
use crate::passages::PassageMatch;
use crate::verdict::Likelihood;
use crate::visual::Work;

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

    /// Adds to what `channel` took.
    pub(crate) fn add(&mut self, channel: Channel, more: Duration) {
        match self.channels.iter_mut().find(|(other, _)| *other == channel) {
            Some((_, took)) => *took += more,
            None => self.channels.push((channel, more)),
        }
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
