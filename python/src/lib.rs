//! The extension module of the Python package: the library's types as Python sees them. It has no
//! rules of its own; what callers see first is the package around it, `pagesight/`.

mod answer;
mod arrow;
mod buffer;
mod errors;
mod index;
mod machine;
mod page;
mod picture;
mod process;
mod program;
mod question;
mod rows;
mod sync;
mod values;
mod vectors;

/// The engine of pagesight. Use the names of `pagesight`, which are documented there.
#[pyo3::pymodule]
mod _pagesight {
    #[pymodule_export]
    use crate::answer::Answer;
    #[pymodule_export]
    use crate::index::Index;
    #[pymodule_export]
    use crate::page::Page;
    #[pymodule_export]
    use crate::picture::{Heatmap, Image};
    #[pymodule_export]
    use crate::process::{forked, stop_all};
    #[pymodule_export]
    use crate::program::{run, serve_worker, version};
    #[pymodule_export]
    use crate::vectors::{QueryVectors, Vectors, unit_rows};
}
