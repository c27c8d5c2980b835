//! pagesight
