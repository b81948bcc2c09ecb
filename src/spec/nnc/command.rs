//! A typed pair for each opcode: what is asked and what is answered, each in both directions.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`.

use super::message::{Message, Params, Request, Response, TooLong};
use super::opcode::{Len, Opcode};
use super::wire::Wire;

/// The parameters are not those of the opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// Another opcode.
    #[error("{found} (expected {expected})")]
    Opcode {
        /// Opcode wanted.
        expected: Opcode,
        /// Opcode there.
        found: Opcode,
    },
    /// Too few or too many.
    #[error("{found} parameters (expected {expected})")]
    Count {
        /// As the table has it.
        expected: usize,
        /// In the message.
        found: usize,
    },
    /// One is too short or too long.
    #[error("parameter {index} has {found} bytes (expected {expected})")]
    Length {
        /// Which, from 0.
        index: usize,
        /// As the table has it.
        expected: Len,
        /// In the message.
        found: usize,
    },
    /// One holds what it can't.
    #[error("parameter {index} holds an impossible value")]
    Value {
        /// Which, from 0.
        index: usize,
    },
}

/// Reads parameters one by one.
#[derive(Debug)]
pub struct Reader<'a> {
    params: Params<'a>,
    index: usize,
}

impl Reader<'_> {
    /// The next parameter as `W` lays it out.
    ///
    /// # Errors
    /// [`ParamError::Value`]: it is none, or there is none.
    pub fn read<W: Wire<T>, T>(&mut self) -> Result<T, ParamError> {
        let index = self.index;
        self.index += 1;
        let value = self.params.next().and_then(W::take);
        value.ok_or(ParamError::Value { index })
    }
}

/// The parameters of a request or of a response.
pub trait Body: Sized {
    /// Appends the parameters.
    ///
    /// # Errors
    /// There is no room for them.
    fn put(&self, message: &mut Message) -> Result<(), TooLong>;

    /// Reads the parameters.
    ///
    /// # Errors
    /// They are not those of this body.
    fn take(params: &mut Reader<'_>) -> Result<Self, ParamError>;
}

/// No parameters.
impl Body for () {
    fn put(&self, _: &mut Message) -> Result<(), TooLong> {
        Ok(())
    }

    fn take(_: &mut Reader<'_>) -> Result<Self, ParamError> {
        Ok(())
    }
}

/// A request, with its opcode and the type of its answer.
pub trait Command: Body {
    /// What it asks.
    const OPCODE: Opcode;
    /// What comes back.
    type Reply: Body;

    /// The request as a message.
    ///
    /// # Errors
    /// It does not fit into one.
    fn request(&self, sequence: u32) -> Result<Message, TooLong> {
        let mut message = Message::request(sequence, Self::OPCODE);
        self.put(&mut message)?;
        Ok(message)
    }

    /// The command in a request.
    ///
    /// # Errors
    /// It is another, or its parameters are not as the table says.
    fn from_request(request: &Request<'_>) -> Result<Self, ParamError> {
        let lengths = Self::OPCODE.info().map_or(NONE, |info| info.request);
        read::<Self>(Self::OPCODE, request.opcode, request.params, lengths)
    }

    /// The answer to it as a message.
    ///
    /// # Errors
    /// It does not fit into one.
    fn answer(sequence: u32, reply: &Self::Reply) -> Result<Message, TooLong> {
        let mut message = Message::response(sequence, Self::OPCODE);
        reply.put(&mut message)?;
        Ok(message)
    }

    /// The answer in a response that says success.
    ///
    /// # Errors
    /// It answers another, or its parameters are not as the table says.
    fn from_response(response: &Response<'_>) -> Result<Self::Reply, ParamError> {
        let lengths = Self::OPCODE.info().map_or(NONE, |info| info.response);
        read::<Self::Reply>(Self::OPCODE, response.opcode, response.params, lengths)
    }
}

const NONE: &[Len] = &[];

fn read<B: Body>(
    expected: Opcode,
    found: Opcode,
    params: Params<'_>,
    lengths: &[Len],
) -> Result<B, ParamError> {
    if found != expected {
        return Err(ParamError::Opcode { expected, found });
    }
    check(params, lengths)?;
    B::take(&mut Reader { params, index: 0 })
}

/// Checks number and lengths of parameters against what the table of opcodes says.
///
/// # Errors
/// The first that is wrong.
pub fn check(params: Params<'_>, lengths: &[Len]) -> Result<(), ParamError> {
    let (expected, found) = (lengths.len(), params.count());
    if found != expected {
        return Err(ParamError::Count { expected, found });
    }
    for (index, (param, &expected)) in params.zip(lengths).enumerate() {
        let found = param.len();
        if !expected.fits(found) {
            return Err(ParamError::Length {
                index,
                expected,
                found,
            });
        }
    }
    Ok(())
}

/// Makes bodies: structs whose fields are the parameters in order, each with its [`Wire`] form.
macro_rules! bodies {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$fmeta:meta])* $field:ident: $type:ty as $wire:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $type,)*
        }

        impl $crate::spec::nnc::command::Body for $name {
            fn put(
                &self,
                message: &mut $crate::spec::nnc::message::Message,
            ) -> Result<(), $crate::spec::nnc::message::TooLong> {
                $(<$wire as $crate::spec::nnc::wire::Wire<$type>>::put(&self.$field, message)?;)*
                let _: &mut $crate::spec::nnc::message::Message = message;
                Ok(())
            }

            fn take(
                params: &mut $crate::spec::nnc::command::Reader<'_>,
            ) -> Result<Self, $crate::spec::nnc::command::ParamError> {
                let _: &mut $crate::spec::nnc::command::Reader<'_> = params;
                Ok(Self { $($field: params.read::<$wire, $type>()?,)* })
            }
        }
    )*};
}

/// Says which body is which opcode's request and what its answer is.
macro_rules! commands {
    ($($name:ident = $number:literal -> $reply:ty,)*) => {$(
        impl $crate::spec::nnc::command::Command for $name {
            const OPCODE: $crate::spec::nnc::opcode::Opcode =
                $crate::spec::nnc::opcode::Opcode($number);
            type Reply = $reply;
        }
    )*};
}

pub(crate) use {bodies, commands};
