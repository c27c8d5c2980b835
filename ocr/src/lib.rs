//! Optical character recognition.

mod tesseract;
