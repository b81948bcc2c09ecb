//! NNC mode: the host drives the neural core itself.

pub mod plan;
