//! Snapshots of before, which routers may ask a part of an index for still.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::view::View;

/// How long a snapshot that is not the newest any more is kept after it was asked for.
const KEPT: Duration = Duration::from_secs(600);

/// Snapshots of before, and when each was asked for last.
#[derive(Default)]
pub(crate) struct Former(Vec<(Instant, Arc<View>)>);

impl Former {
    /// Keeps `view`, and forgets those that nobody has asked for lately.
    pub fn keep(&mut self, view: Arc<View>) {
        self.0.retain(|(asked, _)| asked.elapsed() < KEPT);
        self.0.push((Instant::now(), view));
    }

    /// The one with this number.
    pub fn numbered(&mut self, number: u64) -> Option<Arc<View>> {
        let (asked, view) = self.0.iter_mut().find(|(_, view)| view.number() == number)?;
        *asked = Instant::now();
        Some(Arc::clone(view))
    }
}
