//! Who answers `/v1/ask`: the best passage, a chat model at an address, or a PaliGemma of this machine.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pagesight::Error;
use pagesight::endpoint::Endpoint;
use pagesight::model::{LoadOptions, ModelSource, PaliGemma};

/// Who answers, as the server was started.
#[derive(Debug, Clone)]
pub enum Answerer {
    Passage,
    Endpoint(Endpoint),
    Local(Arc<Local>),
}

/// A PaliGemma that is loaded when it is first asked, and let go when nobody has asked it for a while:
/// its weights take gigabytes.
pub struct Local {
    source: ModelSource,
    loading: LoadOptions,
    idle: Duration,
    loaded: Mutex<Option<(Arc<PaliGemma>, Instant)>>,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Local {
    /// The model `source`, let go after `idle` without a question.
    pub fn new(source: ModelSource, loading: LoadOptions, idle: Duration) -> Self {
        Self { source, loading, idle, loaded: Mutex::new(None) }
    }

    fn loaded(&self) -> MutexGuard<'_, Option<(Arc<PaliGemma>, Instant)>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The model, loaded where it is not. Who asks meanwhile waits for it.
    ///
    /// # Errors
    /// What loading says.
    pub fn model(&self) -> Result<Arc<PaliGemma>, Error> {
        let mut loaded = self.loaded();
        let model = match loaded.take() {
            Some((model, _)) => model,
            None => Arc::new(PaliGemma::load(&self.source, &self.loading)?),
        };
        *loaded = Some((Arc::clone(&model), Instant::now()));
        Ok(model)
    }

    /// Lets the model go where nobody has asked it for as long as it is kept. One that answers now, or
    /// is being loaded, is in use, however long that takes.
    pub fn release(&self) {
        let Ok(mut loaded) = self.loaded.try_lock() else { return };
        let is_idle = |(model, asked): &(Arc<PaliGemma>, Instant)| {
            Arc::strong_count(model) == 1 && asked.elapsed() >= self.idle
        };
        if loaded.as_ref().is_some_and(is_idle) {
            *loaded = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    impl Local {
        fn is_loaded(&self) -> bool {
            self.loaded().is_some()
        }
    }

    #[test]
    fn a_model_is_loaded_when_it_is_asked_and_let_go_when_it_is_idle() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/parity-paligemma/pg2-56");
        let source = ModelSource::Folder(folder);
        let local = Local::new(source.clone(), LoadOptions::default(), Duration::ZERO);
        assert!(!local.is_loaded());
        let model = local.model().unwrap();
        local.release();
        assert!(local.is_loaded(), "it answers");
        assert!(Arc::ptr_eq(&model, &local.model().unwrap()), "loaded once");
        drop(model);
        local.release();
        assert!(!local.is_loaded());
        let kept = Local::new(source, LoadOptions::default(), Duration::from_secs(600));
        drop(kept.model().unwrap());
        kept.release();
        assert!(kept.is_loaded(), "somebody asked a moment ago");
        let nowhere = ModelSource::Folder("/no/such".into());
        assert!(Local::new(nowhere, LoadOptions::default(), Duration::ZERO).model().is_err());
    }
}
