//! The chip driven from outside, as a raw host would.

mod boot;
mod files;
mod host;
