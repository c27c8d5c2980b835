//! Ranked pages, and what each channel said of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::page::PageId;

/// A way of finding pages. A search asks one or several, and fusion joins their rankings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Channel {
    /// Late interaction over the vectors of a page's picture.
    Patches,
    /// BM25 over the words of the page.
    Words,
    /// Late interaction over the meaning of the page's text.
    Passages,
}

impl Channel {
    /// The word used in `--json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Patches => "patches",
            Self::Words => "words",
            Self::Passages => "passages",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one channel said of a page.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChannelScore {
    /// The channel.
    pub channel: Channel,
    /// MaxSim, less the [`background`](Self::background), or BM25; not comparable between channels.
    pub score: f32,
    /// 1-based rank within the channel.
    pub rank: u32,
    /// How many deviations the score is above the mean of all pages that the channel searched.
    #[serde(default)]
    pub z: f32,
    /// How much of all that is asked the page has, 0 to 1; `None` where the channel cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f32>,
    /// What the channel gave to the score of the hit.
    #[serde(default)]
    pub part: f32,
    /// What was taken off the score because the page gives it to any question, where that was asked
    /// to be explained.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub background: f32,
}

fn is_nothing(background: &f32) -> bool {
    *background == 0.0
}

impl ChannelScore {
    /// What `channel` said, before it is weighed.
    pub fn new(channel: Channel, score: f32, rank: u32) -> Self {
        Self { channel, score, rank, z: 0.0, share: None, part: 0.0, background: 0.0 }
    }
}

/// A ranked page and the reasons why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hit {
    /// The page.
    pub page: PageId,
    /// The score that ranks it: fused, or the channel's own when only one was asked.
    pub score: f32,
    /// What each channel said that had the page among its best, in the order of [`Channel`].
    pub channels: Vec<ChannelScore>,
}

impl Hit {
    /// A page that no channel has spoken of yet.
    pub fn new(page: PageId) -> Self {
        Self { page, score: 0.0, channels: Vec::new() }
    }

    /// What `channel` said of the page; `None` when it was not among its best.
    pub fn channel(&self, channel: Channel) -> Option<&ChannelScore> {
        self.channels.iter().find(|said| said.channel == channel)
    }
}
