//! Places in a program that must be there once, in an order that works.
//!
//! Source: vendor hailort v5.2.0, `resource_manager_builder.cpp`.

use std::ops::Range;

use super::error::Refusal;
use super::resources::{End, Port};
use super::translate::Item;

/// The one run of items that `fits`.
pub(super) fn one_group(
    items: &[Item],
    fits: impl Fn(&Item) -> bool,
    what: &'static str,
) -> Result<Range<usize>, Refusal> {
    let mut groups = Vec::new();
    let mut at = 0;
    for run in items.chunk_by(|a, b| fits(a) == fits(b)) {
        if run.first().is_some_and(&fits) {
            groups.push(at..at + run.len());
        }
        at += run.len();
    }
    match groups.as_slice() {
        [group] => Ok(group.clone()),
        groups => Err(Refusal::file(
            what,
            "exactly 1, with nothing in between",
            groups.len(),
        )),
    }
}

/// With extension 34 a context of several closes its channels at a marker, and a channel that the next context uses too
/// before that one is set up.
pub(super) fn check_markers(items: &[Item], mine: &[Port], next: &[Port]) -> Result<(), Refusal> {
    let close = items.iter().position(|item| matches!(item, Item::TearDown));
    let Some(close) = close else {
        return Err(Refusal::file(
            "marker for closing channels",
            "at least 1",
            0,
        ));
    };
    let set_up = items.iter().position(|item| matches!(item, Item::SetUp));
    if set_up.is_some_and(|set_up| set_up < close) {
        let inner = |port: &&Port| port.end != End::Boundary;
        let shared = mine.iter().filter(inner).find(|port| {
            next.iter()
                .filter(inner)
                .any(|other| other.channel == port.channel)
        });
        if let Some(port) = shared {
            let found = format!("set up first (channel {})", port.channel);
            let expected = "closed before the next context is set up";
            return Err(
                Refusal::file("channel that two contexts share", expected, found).of(&port.name),
            );
        }
    }
    Ok(())
}
