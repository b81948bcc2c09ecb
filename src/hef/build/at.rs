//! Where in the description the builder is: the path for a file offset, the words for a person.

use super::super::error::HefError;
use super::super::wire::{Step, locate};

/// A position in the message tree, chained on the stack.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    up: Option<&'a At<'a>>,
    step: Step,
    label: Label<'a>,
}

#[derive(Clone, Copy)]
enum Label<'a> {
    None,
    Named(&'static str, &'a str),
    Numbered(&'static str, usize),
    Plain(&'static str),
}

/// A broken rule, before its offset is known.
#[derive(Debug)]
pub(crate) struct Fault {
    path: Vec<Step>,
    place: String,
    what: &'static str,
    expected: String,
    found: String,
}

/// Result of building; boxed, because it is returned by everything and almost never there.
pub(crate) type Build<T> = Result<T, Box<Fault>>;

impl<'a> At<'a> {
    /// The whole file.
    pub(crate) const ROOT: At<'static> = At {
        up: None,
        step: (0, None),
        label: Label::None,
    };

    /// A field that occurs once.
    pub(crate) fn field(&'a self, number: u32) -> At<'a> {
        At {
            up: Some(self),
            step: (number, None),
            label: Label::None,
        }
    }

    /// One of the repetitions of a field.
    pub(crate) fn nth(&'a self, number: u32, index: usize) -> At<'a> {
        At {
            up: Some(self),
            step: (number, Some(index)),
            label: Label::None,
        }
    }

    /// Adds "`kind` `name`" to the place.
    pub(crate) fn named(self, kind: &'static str, name: &'a str) -> At<'a> {
        At {
            label: Label::Named(kind, name),
            ..self
        }
    }

    /// Adds "`kind` `index`" to the place, with the index of the step.
    pub(crate) fn numbered(self, kind: &'static str) -> At<'a> {
        At {
            label: Label::Numbered(kind, self.step.1.unwrap_or(0)),
            ..self
        }
    }

    /// Adds a word to the place.
    pub(crate) fn plain(self, word: &'static str) -> At<'a> {
        At {
            label: Label::Plain(word),
            ..self
        }
    }

    fn chain(&self) -> Vec<&At<'_>> {
        let mut chain = Vec::new();
        let mut next = Some(self);
        while let Some(at) = next {
            chain.push(at);
            next = at.up;
        }
        chain.reverse();
        chain
    }

    /// The error that the value here breaks a rule.
    pub(crate) fn bad(
        &self,
        what: &'static str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Box<Fault> {
        let chain = self.chain();
        let words: Vec<String> = chain
            .iter()
            .filter_map(|at| match at.label {
                Label::None => None,
                Label::Named(kind, name) => Some(format!("{kind} `{}`", shorten(name))),
                Label::Numbered(kind, index) => Some(format!("{kind} {index}")),
                Label::Plain(word) => Some(word.to_owned()),
            })
            .collect();
        Box::new(Fault {
            path: chain.iter().skip(1).map(|at| at.step).collect(),
            place: if words.is_empty() {
                "file".to_owned()
            } else {
                words.join(", ")
            },
            what,
            expected: expected.to_string(),
            found: found.to_string(),
        })
    }

    /// A number that must fit 8 bits.
    pub(crate) fn u8(&self, what: &'static str, value: u32) -> Build<u8> {
        u8::try_from(value).map_err(|_| self.bad(what, "0 to 255", value))
    }

    /// A number that must fit 16 bits.
    pub(crate) fn u16(&self, what: &'static str, value: u32) -> Build<u16> {
        u16::try_from(value).map_err(|_| self.bad(what, "0 to 65535", value))
    }

    /// A number that must fit 32 bits.
    pub(crate) fn u32(&self, what: &'static str, value: u64) -> Build<u32> {
        u32::try_from(value).map_err(|_| self.bad(what, "0 to 4294967295", value))
    }

    /// A name that C structures of the vendor's interface and a terminal can take.
    pub(crate) fn name(&self, what: &'static str, name: &str, most: usize) -> Build<()> {
        if name.is_empty() {
            return Err(self.bad(what, format!("1 to {most} bytes"), "an empty name"));
        }
        if name.len() > most {
            return Err(self.bad(
                what,
                format!("1 to {most} bytes"),
                format!("{} bytes", name.len()),
            ));
        }
        if let Some(at) = name.find(char::is_control) {
            return Err(self.bad(
                what,
                "no control character",
                format!("one at position {at}"),
            ));
        }
        Ok(())
    }
}

/// Keeps names from the file readable in an error line, whatever they hold.
fn shorten(name: &str) -> String {
    let mut text: String = name
        .chars()
        .take(130)
        .flat_map(char::escape_debug)
        .collect();
    if name.chars().nth(130).is_some() {
        text.push_str("...");
    }
    text
}

impl Fault {
    /// The public error, with the offset found by walking the proto section.
    pub(crate) fn locate(self, proto: &[u8], base: u64) -> HefError {
        HefError::Invalid {
            offset: locate(proto, base, &self.path),
            place: self.place,
            what: self.what,
            expected: self.expected,
            found: self.found,
        }
    }
}
