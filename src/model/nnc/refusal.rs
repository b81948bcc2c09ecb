//! Why a control is not carried out, and what answers look like.

use crate::spec::nnc::command::{Command, ParamError};
use crate::spec::nnc::message::{Message, Request, TooLong};
use crate::spec::nnc::status::{Status, code};

/// Two status words for the host, and words for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::model) struct Refusal {
    pub(in crate::model) major: Status,
    pub(in crate::model) minor: Status,
    pub(in crate::model) why: String,
}

impl Refusal {
    /// The control itself makes no sense: the code is the major status.
    pub(in crate::model) fn framing(code: Status, why: impl Into<String>) -> Self {
        Self {
            major: code,
            minor: Status::OK,
            why: why.into(),
        }
    }

    /// It makes sense, and can't be done: the code is the minor status.
    ///
    /// Which of the two words real firmware uses is unknown. Source: inferred; unconfirmed.
    pub(in crate::model) fn execution(code: Status, why: impl Into<String>) -> Self {
        Self {
            major: code::EXECUTION,
            minor: code,
            why: why.into(),
        }
    }
}

/// An answer that is longer than a message: the model's own mistake.
impl From<TooLong> for Refusal {
    fn from(error: TooLong) -> Self {
        Self::framing(code::PARSING, format!("the answer is {error}"))
    }
}

/// Parameters whose number and lengths were checked hold something impossible.
impl From<ParamError> for Refusal {
    fn from(error: ParamError) -> Self {
        Self::framing(code::PARSING, error.to_string())
    }
}

/// What a control leads to.
pub(in crate::model) type Outcome = Result<Message, Refusal>;

/// Success without anything to tell.
pub(in crate::model) fn done(request: &Request<'_>) -> Message {
    Message::response(request.sequence, request.opcode)
}

/// Success, with the answer of the command `C`.
pub(in crate::model) fn reply<C: Command>(request: &Request<'_>, reply: &C::Reply) -> Outcome {
    Ok(C::answer(request.sequence, reply)?)
}
