//! Ranked pages.

use serde::Serialize;

use crate::PageId;

/// What one channel (visual or text) said of a page.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChannelScore {
    /// MaxSim or BM25; not comparable between channels.
    pub score: f32,
    /// 1-based rank within the channel.
    pub rank: u32,
}

/// A ranked page and the reasons why.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The page.
    pub page: PageId,
    /// The score that ranks it: fused, or the channel's own when only one was asked.
    pub score: f32,
    /// What late interaction said, when the page was among its best.
    pub visual: Option<ChannelScore>,
    /// What the words said, when the page was among the best.
    pub text: Option<ChannelScore>,
}
