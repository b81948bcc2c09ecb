//! NNC mode, where the host drives the neural core: its messages and what it uploads.

pub mod context;
