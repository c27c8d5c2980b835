//! A network in the ONNX format, run by rten.

use std::sync::{Arc, Mutex, PoisonError};

use rten::{Model, ModelOptions, RunOptions, ThreadPool};
use rten_tensor::{AsView, Layout, NdTensor};

use super::pixels::Planes;
use crate::error::OcrError;

/// A network with one picture as input and one tensor as output. `&self`, from many threads at once.
pub(super) struct Network {
    name: &'static str,
    model: Model,
    /// Of one thread each, and free: pages are read side by side, each by one thread.
    pools: Mutex<Vec<Arc<ThreadPool>>>,
}

impl Network {
    pub fn load(name: &'static str, onnx: Vec<u8>) -> Result<Self, OcrError> {
        let mut options = ModelOptions::with_all_ops();
        options.prepack_weights(true);
        let model = options.load(onnx).map_err(|error| failed(name, &error))?;
        if model.input_ids().len() != 1 || model.output_ids().is_empty() {
            return Err(failed(name, &"it does not have one input and one output"));
        }
        Ok(Self { name, model, pools: Mutex::default() })
    }

    /// What the file says of itself under `key`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.model.metadata().get(key)
    }

    /// The output for a picture: its shape without the first side, and its numbers.
    pub fn run(&self, picture: Planes) -> Result<(Vec<usize>, Vec<f32>), OcrError> {
        let Planes { width, height, values } = picture;
        let input = NdTensor::from_data([1, 3, height, width], values);
        let free = self.pools.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let pool = free.unwrap_or_else(|| Arc::new(ThreadPool::with_num_threads(1)));
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&pool)));
        let inputs = vec![(self.model.input_ids()[0], input.view().into())];
        let output = self.model.run_n(inputs, [self.model.output_ids()[0]], Some(options));
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).push(pool);
        let [output] = output.map_err(|error| failed(self.name, &error))?;
        let tensor = output.into_tensor::<f32>().ok_or_else(|| failed(self.name, &"no numbers"))?;
        let shape: Vec<usize> = tensor.shape()[1..].to_vec();
        Ok((shape, tensor.into_data()))
    }
}

/// An error of this network.
pub(super) fn failed(network: &'static str, reason: &dyn std::fmt::Display) -> OcrError {
    OcrError::Network { network, reason: reason.to_string() }
}
