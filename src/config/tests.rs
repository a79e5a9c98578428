//! Whole configs.
