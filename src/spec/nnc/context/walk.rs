//! Reading an action list back, action by action, by the sizes alone.
//!
//! A list has neither lengths nor a terminator: whoever loses step cannot recover, so the walk ends at its first error.
//!
//! Source: vendor hailort v5.2.0, `common/include/context_switch_defs.h`.

use super::action::{Action, ActionKind};
use super::parts::Field;

/// Bytes in front of the parameters: type and time stamp.
const HEADER: usize = 5;

/// One action of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it begins: its header, or its parameters in a repeated block.
    pub offset: usize,
    /// Number among the actions that have a header, so a repeated block counts as one.
    pub index: usize,
    /// Time stamp of the header that covers it; it counts down, [`super::NOT_RUN`] before it ran.
    pub time_stamp: u32,
    /// What it is.
    pub action: Action,
    /// Set for an action of a repeated block. The block itself comes first, as [`Action::Repeated`].
    pub repeated: Option<Repeated>,
}

/// The block an action stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// Offset of the block's header.
    pub header: usize,
    /// Number in the block, from 0.
    pub number: u8,
    /// Actions in the block.
    pub count: u8,
    /// How many have run.
    pub last_executed: u8,
}

/// Why a list could not be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// No action has this number.
    #[error("unknown action {number} at offset {offset:#x}: expected 0 to 44")]
    Unknown {
        /// Offset of the header.
        offset: usize,
        /// The number.
        number: u8,
    },
    /// The list ends in a header.
    #[error(
        "list ends in the header of an action at offset {offset:#x}: expected 5 bytes, found {found}"
    )]
    HeaderTruncated {
        /// Offset of the header.
        offset: usize,
        /// Bytes left.
        found: usize,
    },
    /// The list ends in parameters.
    #[error(
        "list ends in the parameters of `{kind}` at offset {offset:#x}: expected {expected} bytes, found {found}"
    )]
    Truncated {
        /// Offset of the header, or of the parameters in a block.
        offset: usize,
        /// Which action.
        kind: ActionKind,
        /// Bytes its parameters take.
        expected: usize,
        /// Bytes left.
        found: usize,
    },
    /// A repeated block of an action that no number stands for.
    #[error("repeated block at offset {offset:#x}: unknown action {number}, expected 0 to 44")]
    UnknownSub {
        /// Offset of the block's header.
        offset: usize,
        /// The number.
        number: u8,
    },
    /// A repeated block of an action that cannot be repeated.
    #[error("repeated block at offset {offset:#x}: `{kind}` cannot be repeated")]
    NotRepeatable {
        /// Offset of the block's header.
        offset: usize,
        /// Which action.
        kind: ActionKind,
    },
}

impl WalkError {
    /// Where the list broke.
    #[must_use]
    pub fn offset(&self) -> usize {
        match *self {
            Self::Unknown { offset, .. }
            | Self::HeaderTruncated { offset, .. }
            | Self::Truncated { offset, .. }
            | Self::UnknownSub { offset, .. }
            | Self::NotRepeatable { offset, .. } => offset,
        }
    }
}

/// A repeated block that is being read.
#[derive(Clone, Copy, Debug)]
struct Block {
    kind: ActionKind,
    time_stamp: u32,
    next: Repeated,
}

/// Yields the actions of a list, then `None`; after an error only `None`.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    list: &'a [u8],
    offset: usize,
    index: usize,
    block: Option<Block>,
}

impl<'a> Walk<'a> {
    /// Starts at the first action.
    #[must_use]
    pub fn new(list: &'a [u8]) -> Self {
        Self {
            list,
            offset: 0,
            index: 0,
            block: None,
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.list.get(self.offset..).unwrap_or_default()
    }

    /// Takes the parameters of `kind` that begin at `start`; an error names `offset`.
    fn parameters(
        &mut self,
        kind: ActionKind,
        start: usize,
        offset: usize,
    ) -> Result<Action, WalkError> {
        let rest = self.list.get(start..).unwrap_or_default();
        let expected = kind.parameter_bytes();
        let action = Action::decode(kind, &mut &*rest);
        let action = action.ok_or(WalkError::Truncated {
            offset,
            kind,
            expected,
            found: rest.len(),
        })?;
        self.offset = start + expected;
        Ok(action)
    }

    fn framed(&mut self) -> Result<Step, WalkError> {
        let offset = self.offset;
        let bytes = &mut self.rest();
        let found = bytes.len();
        let (Some(number), Some(time_stamp)) = (u8::take(bytes), u32::take(bytes)) else {
            return Err(WalkError::HeaderTruncated { offset, found });
        };
        let kind =
            ActionKind::try_from(number).map_err(|_| WalkError::Unknown { offset, number })?;
        let action = self.parameters(kind, offset + HEADER, offset)?;
        if let Action::Repeated {
            count,
            last_executed,
            sub_type,
        } = action
        {
            let kind = ActionKind::try_from(sub_type).map_err(|_| WalkError::UnknownSub {
                offset,
                number: sub_type,
            })?;
            if !kind.is_repeatable() {
                return Err(WalkError::NotRepeatable { offset, kind });
            }
            let next = Repeated {
                header: offset,
                number: 0,
                count,
                last_executed,
            };
            self.block = (count > 0).then_some(Block {
                kind,
                time_stamp,
                next,
            });
        }
        let index = self.index;
        self.index += usize::from(self.block.is_none());
        Ok(Step {
            offset,
            index,
            time_stamp,
            action,
            repeated: None,
        })
    }

    fn repeated(&mut self, block: Block) -> Result<Step, WalkError> {
        let (offset, index) = (self.offset, self.index);
        let action = self.parameters(block.kind, offset, offset)?;
        let number = block.next.number + 1;
        self.block = (number < block.next.count).then_some(Block {
            next: Repeated {
                number,
                ..block.next
            },
            ..block
        });
        self.index += usize::from(self.block.is_none());
        Ok(Step {
            offset,
            index,
            time_stamp: block.time_stamp,
            action,
            repeated: Some(block.next),
        })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Step, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest().is_empty() && self.block.is_none() {
            return None;
        }
        let step = match self.block.take() {
            Some(block) => self.repeated(block),
            None => self.framed(),
        };
        if step.is_err() {
            (self.offset, self.block) = (self.list.len(), None);
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(list: &[u8]) -> Vec<Result<Step, WalkError>> {
        Walk::new(list).collect()
    }

    #[test]
    fn a_block_counts_as_one_action() {
        let list = [
            24, 255, 255, 255, 255, 2, 0, 5, 0x00, 0x11, // two sub-actions
            24, 1, 0, 0, 0, 0, 0, 5, // none
            21, 255, 255, 255, 255,
        ];
        let steps: Vec<Step> = walk(&list)
            .into_iter()
            .collect::<Result<_, _>>()
            .expect("a good list");
        let seen: Vec<_> = steps
            .iter()
            .map(|s| (s.offset, s.index, s.repeated.map(|r| r.number)))
            .collect();
        assert_eq!(
            seen,
            [
                (0, 0, None),
                (8, 0, Some(0)),
                (9, 0, Some(1)),
                (10, 1, None),
                (18, 2, None)
            ]
        );
        assert_eq!(steps[2].time_stamp, u32::MAX);
        assert_eq!(steps[3].time_stamp, 1);
    }

    #[test]
    fn a_broken_list_ends_at_its_first_error_with_the_place() {
        let good = [21, 255, 255, 255, 255];
        let after = |bytes: &[u8]| walk(&[&good, bytes].concat());
        let error = |bytes: &[u8]| {
            let steps = after(bytes);
            assert_eq!(steps.len(), 2, "{steps:?}");
            steps[1].clone().expect_err("a broken list")
        };
        assert_eq!(
            error(&[45, 0, 0, 0, 0]),
            WalkError::Unknown {
                offset: 5,
                number: 45
            }
        );
        assert_eq!(
            error(&[1, 0, 0]),
            WalkError::HeaderTruncated {
                offset: 5,
                found: 3
            }
        );
        let kind = ActionKind::DisableLcu;
        let truncated = WalkError::Truncated {
            offset: 5,
            kind,
            expected: 1,
            found: 0,
        };
        assert_eq!(error(&[5, 0, 0, 0, 0]), truncated);
        assert_eq!(
            error(&[24, 0, 0, 0, 0, 2, 0, 99]),
            WalkError::UnknownSub {
                offset: 5,
                number: 99
            }
        );
        let kind = ActionKind::Halt;
        assert_eq!(
            error(&[24, 0, 0, 0, 0, 2, 0, 44]),
            WalkError::NotRepeatable { offset: 5, kind }
        );
        let steps = after(&[24, 0, 0, 0, 0, 2, 0, 5, 7]);
        let kind = ActionKind::DisableLcu;
        let error = WalkError::Truncated {
            offset: 14,
            kind,
            expected: 1,
            found: 0,
        };
        assert_eq!(steps[3], Err(error));
        assert_eq!(
            error.to_string(),
            "list ends in the parameters of `disable lcu` at offset 0xe: expected 1 bytes, found 0"
        );
    }
}
