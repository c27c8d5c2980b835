//! One snapshot of an index with its ledger, as searches see it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use pagesight_core::seam::TextIndex;
use pagesight_core::{DocumentId, DocumentRecord, chain};
use pagesight_maxsim::Segments;
use pagesight_query::{Backgrounds, Effort, Joined, Part, PartSources};
use pagesight_store::{Address, JoinedWords, LocalCopy, PassageCodes, Reader, Share, Snippet};

use crate::error::Error;
use crate::ledger::{Ledger, OfDocuments, Whole};
use crate::parts::{OfSnapshot, PartsAt};

/// One snapshot with its ledger.
pub(crate) struct View {
    pub reader: Reader,
    ledger: Ledger,
    /// Mapped by the first search; why not, when they are damaged.
    codes: OnceLock<Result<Option<Segments>, String>>,
    /// As the codes.
    passages: OnceLock<Result<Option<PassageCodes>, String>>,
    /// What its pages give to any question.
    pub backgrounds: Backgrounds,
    /// Where its pages lie, once somebody asks this part of an index.
    part: OnceLock<Part>,
    /// The machines that have its words and codes, where this one has none.
    router: Option<Router>,
}

/// What a router knows of the parts of a snapshot.
struct Router {
    parts: Arc<dyn PartsAt>,
    joined: Joined,
    words: JoinedWords,
}

impl View {
    /// Opens the latest snapshot of the index in `folder`.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Self::over(Reader::open(folder)?, None)
    }

    /// Opens the newest snapshot of the index at `address`, with its words and sketches in `local`, or in
    /// `parts`.
    pub fn open_bucket(
        address: &Address,
        local: &LocalCopy,
        parts: Option<&Arc<dyn PartsAt>>,
    ) -> Result<Self, Error> {
        Self::over(Reader::open_bucket(address, local)?, parts)
    }

    /// The latest snapshot, when it is another one than this.
    pub fn newer(&self) -> Result<Option<Self>, Error> {
        let parts = self.router.as_ref().map(|router| &router.parts);
        self.reader.newer()?.map(|reader| Self::over(reader, parts)).transpose()
    }

    fn over(reader: Reader, parts: Option<&Arc<dyn PartsAt>>) -> Result<Self, Error> {
        let router = parts.map(|parts| Router::new(&reader, parts)).transpose()?;
        let model = reader.snapshot().model();
        let neutral = model.map(|model| model.neutral.clone()).unwrap_or_default();
        let backgrounds = Backgrounds::new(neutral);
        let (codes, passages) = (OnceLock::new(), OnceLock::new());
        let part = OnceLock::new();
        let ledger = Ledger::default();
        if reader.is_in_bucket() {
            // A bucket may be out of reach when a hit's document is asked for.
            ledger.whole(&reader)?;
        }
        Ok(Self { reader, ledger, codes, passages, backgrounds, part, router })
    }

    /// What ranks by words: the parts, where there are some.
    pub fn text(&self) -> &dyn TextIndex {
        match &self.router {
            Some(router) => &router.joined,
            None => &self.reader,
        }
    }

    /// The parts, where this machine has none of the words and codes.
    pub fn joined(&self) -> Option<&Joined> {
        self.router.as_ref().map(|router| &router.joined)
    }

    /// The part of `text` that answers `query` best, its words marked.
    ///
    /// # Errors
    /// What the parts say.
    pub fn snippet(&self, query: &str, text: &str) -> Result<Snippet, Error> {
        match &self.router {
            None => Ok(self.reader.snippet(query, text)),
            Some(router) => {
                let have = router.joined.frequencies(query)?;
                Ok(router.words.snippet(query, text, &have))
            }
        }
    }

    /// Where the pages of this part lie.
    pub fn part(&self) -> &Part {
        self.part.get_or_init(|| Part::of(self.codes().0))
    }

    /// What this part answers from.
    pub fn part_sources(&self) -> PartSources<'_> {
        let reader = &self.reader;
        let part = match reader.share() {
            Share::Part { at, of } => [at, of],
            _ => [0, 1],
        };
        PartSources { part, vectors: reader, text: reader, words: reader, codes: self.codes().0 }
    }

    /// Number of the snapshot.
    pub fn number(&self) -> u64 {
        self.reader.snapshot().number()
    }

    /// What the index was tuned to.
    pub fn effort(&self) -> Effort {
        match self.reader.snapshot().tuning().map(|tuning| tuning.compared) {
            None => Effort::Auto,
            Some(None) => Effort::Certified,
            Some(Some(count)) => Effort::Best(count),
        }
    }

    /// The codes that searches scan. They are derived from the vectors, so damage to them is no
    /// error: it is the second value, and the vectors themselves are read.
    pub fn codes(&self) -> (Option<&Segments>, Option<&str>) {
        let open = || self.reader.codes().map_err(|error| chain(&error));
        match self.codes.get_or_init(open) {
            Ok(codes) => (codes.as_ref(), None),
            Err(why) => (None, Some(why)),
        }
    }

    /// The codes of the passages; the second value says why not, when they are damaged.
    pub fn passages(&self) -> (Option<&PassageCodes>, Option<&str>) {
        let open = || self.reader.passages().map_err(|error| chain(&error));
        match self.passages.get_or_init(open) {
            Ok(codes) => (codes.as_ref(), None),
            Err(why) => (None, Some(why)),
        }
    }

    /// The ledger, whole.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ledger(&self) -> Result<&Whole, Error> {
        self.ledger.whole(&self.reader)
    }

    /// The records of `documents`.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn documents_of(&self, documents: &HashSet<DocumentId>) -> Result<OfDocuments, Error> {
        self.ledger.of(&self.reader, documents)
    }

    /// The documents whose ids begin with `digits`, in order.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub fn documents_beginning(&self, digits: &str) -> Result<Vec<DocumentId>, Error> {
        self.ledger.beginning(&self.reader, digits)
    }

    /// The record that `path` means: that of the ledger path that it is, or of the only one that ends
    /// with it.
    ///
    /// # Errors
    /// [`Error::NoSuchDocument`], [`Error::AmbiguousPath`], and when the ledger cannot be read.
    pub fn resolve(&self, path: &str) -> Result<DocumentRecord, Error> {
        match self.ledger.at(&self.reader, path)? {
            Some(record) => Ok(record),
            None => self.ledger()?.resolve(path).cloned(),
        }
    }
}

impl Router {
    fn new(reader: &Reader, parts: &Arc<dyn PartsAt>) -> Result<Self, Error> {
        let number = reader.snapshot().number();
        let joined = Joined::open(Arc::new(OfSnapshot { parts: Arc::clone(parts), number }))?;
        let words = JoinedWords::of([joined.words()]);
        Ok(Self { parts: Arc::clone(parts), joined, words })
    }
}
