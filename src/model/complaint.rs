//! What the host did wrong, in plain words.

use crate::spec::register::Bar;

/// So many are kept; a host that errs more often has been told enough.
const MOST: usize = 200;

/// The list, without repetitions.
#[derive(Debug, Default)]
pub(super) struct Complaints(Vec<String>);

impl Complaints {
    pub(super) fn add(&mut self, text: String) {
        if self.0.len() < MOST && !self.0.contains(&text) {
            log::warn!("sim: the host erred: {text}");
            self.0.push(text);
        }
    }

    pub(super) fn once(&mut self, what: &str, bar: Bar, offset: u32) {
        self.add(format!("{what}: {bar} + {offset:#x}"));
    }

    pub(super) fn list(&self) -> &[String] {
        &self.0
    }
}
