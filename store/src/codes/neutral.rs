//! The neutral questions that pages are measured with, encoded when the first page is.

use std::fmt;
use std::sync::LazyLock;

use pagesight_maxsim::Neutral;

type Encode = Box<dyn FnOnce() -> Option<Neutral> + Send>;

/// Neutral questions that are encoded when they are first needed: a large model takes seconds for
/// them, and most runs of indexing have no new page.
pub struct LazyNeutral {
    id: u32,
    encoded: LazyLock<Option<Neutral>, Encode>,
}

impl LazyNeutral {
    /// Questions that are called `name`, as for [`Neutral::new`], and what encodes them; `None` from
    /// it where nothing can.
    pub fn new(name: &str, encode: impl FnOnce(&str) -> Option<Neutral> + Send + 'static) -> Self {
        let (id, name) = (Neutral::id_of(name), name.to_string());
        Self { id, encoded: LazyLock::new(Box::new(move || encode(&name))) }
    }

    /// Says which questions, without encoding them.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// The questions.
    pub(crate) fn get(&self) -> Option<&Neutral> {
        self.encoded.as_ref()
    }
}

impl fmt::Debug for LazyNeutral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyNeutral").field("id", &self.id).finish_non_exhaustive()
    }
}
