//! Proof of a trained model by a few rows of each stage: all of them would be megabytes. From the
//! picture of a slice to vectors, each stage fed with what ours before it gave; a trained model's
//! numbers have any size, so inner stages are held to a share of the largest.

use std::path::Path;

use candle_core::{DType, Tensor};
use pagesight_core::ModelSource;

use super::Check;
use crate::checkpoint::files::NANO;
use crate::device::Device;
use crate::families::colpali::model::ColPali;
use crate::options::LoadOptions;
use crate::parity::{
    ParityError, StageReport, Stages, id_tensor, max_difference, numbers, read_image,
};
use crate::precision::Precision;

/// The largest difference of an inner stage, as a share of its largest number.
const SHARE: f64 = 5e-5;

/// The largest difference of a vector's number.
const VECTORS: f64 = 1e-4;

/// Runs `model`, `nano` or a folder relative to `folder`, against the rows in
/// `folder/expected.safetensors`, which `training/parity.py --rows` wrote.
pub(super) fn trained(
    folder: &Path,
    model: &str,
    queries: &[String],
    stages: Stages,
) -> Result<Vec<StageReport>, ParityError> {
    let source =
        if model == NANO { ModelSource::Nano } else { ModelSource::Folder(folder.join(model)) };
    let options = LoadOptions {
        precision: Some(Precision::F32),
        device: Device::Cpu,
        ..LoadOptions::default()
    };
    let model = ColPali::load(&source, &options)?;
    let mut check = Check { model, stages, folder };
    check.rows_of_a_page()?;
    check.rows_of_queries(queries)?;
    Ok(check.stages.reports)
}

impl Check<'_> {
    fn rows_of_a_page(&mut self) -> Result<(), ParityError> {
        let picture = read_image(&self.folder.join("page.png"))?;
        let pixels = self.model.normalisation.pixel_values(&picture)?;
        let (depth, layers) = (self.cpu().vision()?.0.depth(), self.cpu().language().depth());
        let ids = self.model.page_ids().to_vec();
        self.rows("page.input_ids", &id_tensor(&ids)?, 0.0)?;
        let mut x = self.cpu().vision()?.0.embed(&pixels)?;
        self.rows("vision.embeddings", &x, SHARE)?;
        for n in 0..depth {
            x = self.cpu().vision()?.0.layer(n, &x)?;
            self.rows(&format!("vision.layer.{n}"), &x, SHARE)?;
        }
        x = self.cpu().vision()?.0.finish(&x)?;
        self.rows("vision.output", &x, SHARE)?;
        x = self.cpu().vision()?.1.forward(&x)?;
        self.rows("projector.output", &x, SHARE)?;
        x = self.cpu().page_input(&x, &ids)?;
        for n in 0..layers {
            let language = self.cpu().language();
            x = language.layer(n, &x, &language.context(x.dim(0)?))?;
            self.rows(&format!("page.lm.layer.{n}"), &x, SHARE)?;
        }
        x = self.cpu().language().finish(&x)?;
        self.rows("page.lm.output", &x, SHARE)?;
        x = self.cpu().head().forward(&x)?;
        self.rows("page.head.output", &x, SHARE)?;
        let vectors = self.model.encode_slice(&pixels, &ids)?;
        self.rows("page.embeddings", &vectors, VECTORS)
    }

    /// Compares the rows of `got` that the fixture has, with a tolerance that is a `share` of the
    /// largest expected number.
    fn rows(&mut self, name: &str, got: &Tensor, share: f64) -> Result<(), ParityError> {
        let expected = self.stages.get(name)?;
        let rows = self.stages.get("page.rows")?.to_dtype(DType::U32)?;
        let got = got.index_select(&rows, 0)?;
        let largest = numbers(&expected)?.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        self.stages.report(name, share * f64::from(largest), max_difference(&got, &expected)?);
        Ok(())
    }

    fn rows_of_queries(&mut self, queries: &[String]) -> Result<(), ParityError> {
        let ids = queries.iter().map(|query| Ok(self.model.query(query)?.ids));
        let ids = ids.collect::<Result<Vec<_>, ParityError>>()?;
        let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
        let tensors = ids.iter().map(|ids| id_tensor(ids)).collect::<Result<Vec<_>, _>>()?;
        self.stages.compare("query.input_ids", 0.0, &tensors, Some(&lengths))?;
        let causal = self.model.recipe.causal_queries;
        let rows = ids.iter().map(|ids| self.model.encode_ids(ids, causal));
        let rows = rows.collect::<candle_core::Result<Vec<_>>>()?;
        self.stages.compare("query.embeddings", VECTORS, &rows, Some(&lengths))
    }
}
