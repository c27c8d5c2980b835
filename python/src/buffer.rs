//! Memory of ours, shown by Python's buffer protocol: read-only, contiguous, never copied.

use std::ffi::{CStr, c_int, c_void};
use std::mem::size_of;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

/// Lengths and strides of a buffer, which live as long as its view.
struct Layout {
    shape: Vec<isize>,
    strides: Vec<isize>,
}

/// Fills `view` with `items` of `owner`, which it keeps alive. `format` is that of one item in the
/// words of Python's `struct`, and `shape` has as many cells as there are items.
///
/// # Safety
/// `view` is what the interpreter gave to `__getbuffer__`, or null. `items` belong to `owner`, which
/// neither moves nor changes them.
pub unsafe fn fill<T: Copy>(
    view: *mut ffi::Py_buffer,
    flags: c_int,
    owner: Bound<'_, PyAny>,
    items: &[T],
    format: &'static CStr,
    shape: &[usize],
) -> PyResult<()> {
    if view.is_null() {
        return Err(PyBufferError::new_err("the view is null"));
    }
    // SAFETY: not null, and the interpreter's, by the contract of this function.
    let view = unsafe { &mut *view };
    if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
        view.obj = std::ptr::null_mut();
        return Err(PyBufferError::new_err("the memory is read-only"));
    }
    debug_assert_eq!(shape.iter().product::<usize>(), items.len());
    let mut strides = vec![size_of::<T>() as isize; shape.len()];
    for axis in (0..shape.len().saturating_sub(1)).rev() {
        strides[axis] = strides[axis + 1] * shape[axis + 1] as isize;
    }
    let shape = shape.iter().map(|length| *length as isize).collect();
    let layout = Box::new(Layout { shape, strides });
    let asked = |flag: c_int| flags & flag == flag;
    view.buf = items.as_ptr() as *mut c_void;
    view.len = size_of_val(items) as isize;
    view.readonly = 1;
    view.itemsize = size_of::<T>() as isize;
    view.ndim = layout.shape.len() as c_int;
    view.format =
        if asked(ffi::PyBUF_FORMAT) { format.as_ptr().cast_mut() } else { std::ptr::null_mut() };
    view.shape =
        if asked(ffi::PyBUF_ND) { layout.shape.as_ptr().cast_mut() } else { std::ptr::null_mut() };
    view.strides = if asked(ffi::PyBUF_STRIDES) {
        layout.strides.as_ptr().cast_mut()
    } else {
        std::ptr::null_mut()
    };
    view.suboffsets = std::ptr::null_mut();
    view.internal = Box::into_raw(layout).cast();
    view.obj = owner.into_ptr();
    Ok(())
}

/// Frees what [`fill`] has allocated.
///
/// # Safety
/// `view` was filled by [`fill`] and is released for the first time.
pub unsafe fn release(view: *mut ffi::Py_buffer) {
    // SAFETY: `internal` came from `Box::into_raw` in `fill`, by the contract of this function.
    drop(unsafe { Box::from_raw((*view).internal.cast::<Layout>()) });
}
