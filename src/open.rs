//! The wiring: the one place that names concrete technologies together. What an index works with is
//! made here when it is first needed, unless the program brought its own.

use std::sync::Arc;

#[cfg(feature = "model")]
use pagesight_core::ModelSource;
use pagesight_core::seam::{Model, Ocr, PassageEncoder, PdfReader};
use pagesight_core::{EmbedderRecord, ModelRecord, OcrChoice, Slices};
#[cfg(feature = "model")]
use pagesight_model::{Embedder, EmbedderOptions, LoadOptions, ModelError, RecipeChoice};
#[cfg(feature = "ocr")]
use pagesight_ocr::{OcrError, Readers, WeightSearch};
#[cfg(feature = "pdf")]
use pagesight_pdf::{RenderOptions, RendererPool};

use crate::error::Error;

/// How models are loaded and pages drawn.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opening {
    #[cfg(feature = "model")]
    pub loading: LoadOptions,
    #[cfg(feature = "model")]
    pub embedding: EmbedderOptions,
    #[cfg(feature = "pdf")]
    pub renderer: RenderOptions,
    #[cfg(feature = "ocr")]
    pub weights: WeightSearch,
}

impl Opening {
    /// Loads the model that `source` names. What `stored` says of the same model holds where
    /// `options` do not say otherwise: recipe and slices are parts of the model that the vectors of
    /// an index were made with.
    #[cfg(feature = "model")]
    pub fn model(
        &self,
        source: &ModelSource,
        options: &LoadOptions,
        stored: Option<ModelRecord>,
    ) -> Result<Arc<dyn Model>, Error> {
        let mut options = options.clone();
        let own = options.recipe.clone();
        if let Some(stored) = stored {
            options.recipe = options.recipe.or(recipe_of(&stored));
            if stored.source.as_ref() == Some(source) {
                options.base = options.base.or(stored.base);
            }
        }
        let is_stored = own.is_none() && options.recipe.is_some();
        let loaded = pagesight_model::load(source, &options);
        // A recipe of another family does not fit. Which model it is instead says the model itself.
        Ok(loaded.or_else(|error| {
            options.recipe = own;
            let other = is_stored.then(|| pagesight_model::load(source, &options));
            other.and_then(Result::ok).ok_or(error)
        })?)
    }

    /// Loads the model that an index remembers, from where it was.
    ///
    /// # Errors
    /// [`Error::ModelGone`], [`Error::ModelChanged`], [`Error::Model`].
    pub fn remembered_model(
        &self,
        record: &ModelRecord,
        slices: Option<Slices>,
        query_only: bool,
    ) -> Result<Arc<dyn Model>, Error> {
        let Some(source) = &record.source else {
            return Err(Error::ModelNotBrought { id: record.id.clone() });
        };
        #[cfg(feature = "model")]
        {
            if let ModelSource::Folder(folder) = source
                && !folder.is_dir()
            {
                return Err(Error::ModelGone { source_of: source.clone() });
            }
            let base = self.loading.base.clone().or_else(|| record.base.clone());
            let slices = slices.or_else(|| self.loading.slices.clone());
            let recipe = recipe_of(record);
            let options = LoadOptions { recipe, slices, query_only, base, ..self.loading.clone() };
            let gone = || Error::ModelGone { source_of: source.clone() };
            let model = pagesight_model::load(source, &options).map_err(|error| match error {
                // A hub's cache may have lost it, as a folder may.
                ModelError::NotFound { .. } => gone(),
                error => error.into(),
            })?;
            let got = model.record().id;
            if got != record.id {
                let (source_of, expected) = (Some(source.clone()), record.id.clone());
                return Err(Error::ModelChanged { source_of, expected, got });
            }
            Ok(model)
        }
        #[cfg(not(feature = "model"))]
        {
            let _ = (slices, query_only);
            Err(Error::ModelGone { source_of: source.clone() })
        }
    }

    /// Loads the model that encoded the passages of an index, from where it was.
    ///
    /// # Errors
    /// [`Error::ModelGone`], [`Error::ModelChanged`], [`Error::ModelNotBrought`], [`Error::Model`].
    pub fn remembered_embedder(
        &self,
        record: &EmbedderRecord,
    ) -> Result<Arc<dyn PassageEncoder>, Error> {
        let Some(source) = &record.source else {
            return Err(Error::ModelNotBrought { id: record.id.clone() });
        };
        let gone = || Error::ModelGone { source_of: source.clone() };
        #[cfg(feature = "model")]
        {
            let options =
                EmbedderOptions { recipe: record.recipe.clone(), ..self.embedding.clone() };
            let loaded = Embedder::load(source, &options).map_err(|error| match error {
                ModelError::NotFound { .. } => gone(),
                error => error.into(),
            })?;
            let got = loaded.record().id;
            if got != record.id {
                let (source_of, expected) = (Some(source.clone()), record.id.clone());
                return Err(Error::ModelChanged { source_of, expected, got });
            }
            Ok(Arc::new(loaded))
        }
        #[cfg(not(feature = "model"))]
        {
            Err(gone())
        }
    }

    /// What reads PDFs: a pool of worker processes with pdfium.
    ///
    /// # Errors
    /// [`Error::Pdf`] when libpdfium is nowhere.
    pub fn pdf_reader(&self) -> Result<Arc<dyn PdfReader>, Error> {
        #[cfg(feature = "pdf")]
        {
            // Said before a run begins, with all places that were looked at.
            self.renderer.found_pdfium()?;
            Ok(Arc::new(RendererPool::new(self.renderer.clone())))
        }
        #[cfg(not(feature = "pdf"))]
        {
            Err(Error::NoReader)
        }
    }

    /// What reads pages that are pictures; `None` where nothing on this machine does.
    ///
    /// # Errors
    /// [`Error::Ocr`] when the embedded reader was chosen and is not there, or when its weights are
    /// not the published ones.
    pub fn ocr(
        &self,
        choice: OcrChoice,
        languages: Option<&str>,
    ) -> Result<Option<Arc<dyn Ocr>>, Error> {
        #[cfg(feature = "ocr")]
        {
            match Readers::find(choice, languages, &self.weights) {
                Ok(readers) => Ok(Some(Arc::new(readers))),
                // The ledger notes the pages that nothing reads.
                Err(OcrError::Off | OcrError::NotInstalled | OcrError::NoLanguage { .. }) => {
                    Ok(None)
                }
                Err(error) => Err(error.into()),
            }
        }
        #[cfg(not(feature = "ocr"))]
        {
            let _ = (choice, languages);
            Ok(None)
        }
    }
}

/// The recipe of the model that an index remembers.
#[cfg(feature = "model")]
fn recipe_of(record: &ModelRecord) -> Option<RecipeChoice> {
    record.recipe.clone().map(RecipeChoice::Json)
}
