//! Lists of the tensors that a model must have: canonical name and shape.

/// A tensor that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its canonical name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A list that grows by layers.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The tensors so far.
    pub entries: Vec<Entry>,
}

impl Inventory {
    /// Adds a tensor.
    pub fn add(&mut self, name: String, shape: &[usize]) {
        self.entries.push(Entry { name, shape: shape.into() });
    }

    /// Adds the weight and the bias of a norm.
    pub fn norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), &[width]);
        self.add(format!("{name}.bias"), &[width]);
    }

    /// Adds the weight, `[output, input]`, and perhaps the bias of a linear layer.
    pub fn linear(&mut self, name: &str, input: usize, output: usize, bias: bool) {
        self.add(format!("{name}.weight"), &[output, input]);
        if bias {
            self.add(format!("{name}.bias"), &[output]);
        }
    }
}
