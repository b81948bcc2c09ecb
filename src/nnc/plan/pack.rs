//! From actions to bytes: repeated blocks, addresses, chunks of one control each.
//!
//! Source: vendor hailort v5.2.0, `resource_manager_builder.cpp`, `action_list_buffer_builder.cpp`.

use serde::Serialize;

use super::error::EncodeError;
use super::translate::{Item, Planned};
use crate::addr::Iova;
use crate::spec::nnc::context::{
    Action, ApplicationHeader, ContextKind, LIST_ALIGNMENT, MAX_CHUNK, MAX_REPEATED,
};

/// What stands under one header: an action, or several of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Unit {
    /// The actions; two or more are sent as a repeated block.
    pub actions: Vec<Planned>,
}

/// Groups like neighbours into blocks.
pub(super) fn compress(items: Vec<Item>) -> Vec<Unit> {
    let mut units: Vec<Unit> = Vec::new();
    let mut joins = false;
    for item in items {
        let Item::Act(planned) = item else {
            joins = false;
            continue;
        };
        let kind = planned.action.kind();
        match units.last_mut() {
            Some(unit)
                if joins
                    && kind.is_repeatable()
                    && unit.actions.len() < MAX_REPEATED
                    && unit
                        .actions
                        .last()
                        .is_some_and(|last| last.action.kind() == kind) =>
            {
                unit.actions.push(planned);
            }
            _ => units.push(Unit {
                actions: vec![planned],
            }),
        }
        joins = true;
    }
    units
}

/// Leaves every action under its own header.
pub(super) fn separate(items: Vec<Planned>) -> Vec<Unit> {
    let unit = |planned| Unit {
        actions: vec![planned],
    };
    items.into_iter().map(unit).collect()
}

/// The content of one control: a part of a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Kind of the context.
    pub kind: ContextKind,
    /// Whether the context begins here.
    pub first: bool,
    /// Whether the context ends here.
    pub last: bool,
    /// Actions, at most [`MAX_CHUNK`] bytes.
    pub data: Vec<u8>,
}

/// Everything that is sent to configure a network, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The application header.
    pub header: [u8; ApplicationHeader::BYTES],
    /// The chunks of each context.
    pub contexts: Vec<Vec<Chunk>>,
}

/// Checks that there is a usable address for each of `lists` lists.
pub(super) fn check(lists: usize, addresses: &[Iova]) -> Result<(), EncodeError> {
    if addresses.len() != lists {
        return Err(EncodeError::Count {
            expected: lists,
            found: addresses.len(),
        });
    }
    let bad = addresses
        .iter()
        .position(|address| !address.is_aligned_to(LIST_ALIGNMENT));
    match bad {
        Some(list) => Err(EncodeError::Alignment {
            list,
            found: addresses[list],
        }),
        None => Ok(()),
    }
}

/// The chunks of a context. A piece that is never cut is an action with its header, the header of a block, or the
/// parameters of one action in it.
pub(super) fn chunks(kind: ContextKind, units: &[Unit], addresses: &[Iova]) -> Vec<Chunk> {
    let mut chunks: Vec<Vec<u8>> = vec![Vec::new()];
    let mut piece = Vec::with_capacity(64);
    let mut add = |piece: &mut Vec<u8>| match chunks.last_mut() {
        Some(last) if last.len() + piece.len() <= MAX_CHUNK => last.append(piece),
        _ => chunks.push(std::mem::take(piece)),
    };
    for unit in units {
        let alone = unit.actions.len() == 1;
        if let (false, Some(first)) = (alone, unit.actions.first()) {
            let header = Action::Repeated {
                count: u8::try_from(unit.actions.len()).unwrap_or(u8::MAX),
                last_executed: 0,
                sub_type: first.action.kind().number(),
            };
            header.encode(&mut piece);
            add(&mut piece);
        }
        for planned in &unit.actions {
            let action = with_address(planned, addresses);
            if alone {
                action.encode(&mut piece);
            } else {
                action.encode_parameters(&mut piece);
            }
            add(&mut piece);
        }
    }
    let end = chunks.len() - 1;
    let chunk = |(number, data)| Chunk {
        kind,
        first: number == 0,
        last: number == end,
        data,
    };
    chunks.into_iter().enumerate().map(chunk).collect()
}

fn with_address(planned: &Planned, addresses: &[Iova]) -> Action {
    let mut action = planned.action.clone();
    let address = planned.list.and_then(|list| addresses.get(list.0));
    if let (Some(buffer), Some(address)) = (action.buffer_mut(), address) {
        buffer.address = address.0;
    }
    action
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::nnc::context::{ActionKind, LcuId};

    fn items(actions: impl IntoIterator<Item = Action>) -> Vec<Item> {
        actions
            .into_iter()
            .map(|action| Item::Act(Planned::made(action)))
            .collect()
    }

    fn disable(lcu: u8) -> Action {
        Action::DisableLcu {
            lcu: LcuId::from_raw(lcu),
        }
    }

    fn shape(units: &[Unit]) -> Vec<(ActionKind, usize)> {
        units
            .iter()
            .map(|unit| (unit.actions[0].action.kind(), unit.actions.len()))
            .collect()
    }

    #[test]
    fn runs_of_one_kind_become_blocks_of_at_most_255() {
        let many = items((0..=255).map(disable));
        assert_eq!(
            shape(&compress(many)),
            [(ActionKind::DisableLcu, 255), (ActionKind::DisableLcu, 1)]
        );
        let many = items((0..=255).chain(0..=255).map(disable));
        let kind = ActionKind::DisableLcu;
        assert_eq!(
            shape(&compress(many)),
            [(kind, 255), (kind, 255), (kind, 2)]
        );
        let alone = items([
            Action::WaitSequencer { cluster: 0 },
            Action::WaitSequencer { cluster: 1 },
        ]);
        assert_eq!(compress(alone).len(), 2);
    }

    #[test]
    fn what_is_not_sent_ends_a_run() {
        for gap in [Item::Gap, Item::SetUp, Item::TearDown] {
            let mut list = items([disable(0), disable(1)]);
            list.push(gap);
            list.extend(items([disable(2)]));
            let kind = ActionKind::DisableLcu;
            assert_eq!(shape(&compress(list)), [(kind, 2), (kind, 1)]);
        }
    }

    #[test]
    fn only_blocks_straddle_chunks() {
        // 290 actions of 5 bytes leave 11 bytes: the header of a block, three of its actions, and no more.
        let plain = (0..290).map(|_| Action::WaitApplicationChange);
        let units = compress(items(plain.chain((0..9).map(disable))));
        let chunks = chunks(ContextKind::Dynamic, &units, &[]);
        let shape: Vec<_> = chunks
            .iter()
            .map(|chunk| (chunk.first, chunk.last, chunk.data.len()))
            .collect();
        assert_eq!(shape, [(true, false, 1461), (false, true, 6)]);
        let plain = (0..291).map(|_| Action::WaitApplicationChange);
        let units = compress(items(plain.chain([Action::Sleep { microseconds: 1 }])));
        let chunks = super::chunks(ContextKind::Dynamic, &units, &[]);
        assert_eq!([chunks[0].data.len(), chunks[1].data.len()], [1455, 9]);
    }
}
