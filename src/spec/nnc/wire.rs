//! How one value lies in one parameter: byte order, fixed arrays, text, data.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.cpp`, `control.cpp`.

use std::borrow::Cow;

use super::message::{Message, TooLong};

/// A way to lay out values of `T`.
pub trait Wire<T> {
    /// Appends `value` as one parameter.
    ///
    /// # Errors
    /// There is no room for it.
    fn put(value: &T, message: &mut Message) -> Result<(), TooLong>;

    /// The value of a parameter; `None` where its length or content is impossible.
    fn take(bytes: &[u8]) -> Option<T>;
}

/// Most significant byte first.
#[derive(Debug)]
pub struct Be;

/// Least significant byte first.
#[derive(Debug)]
pub struct Le;

/// Bytes as they are.
#[derive(Debug)]
pub struct Raw;

/// One byte, 0 or 1; any other number counts as 1.
#[derive(Debug)]
pub struct Flag;

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Wire<$number> for Be {
            fn put(value: &$number, message: &mut Message) -> Result<(), TooLong> {
                message.param(&value.to_be_bytes())
            }

            fn take(bytes: &[u8]) -> Option<$number> {
                Some(<$number>::from_be_bytes(bytes.try_into().ok()?))
            }
        }

        impl Wire<$number> for Le {
            fn put(value: &$number, message: &mut Message) -> Result<(), TooLong> {
                message.param(&value.to_le_bytes())
            }

            fn take(bytes: &[u8]) -> Option<$number> {
                Some(<$number>::from_le_bytes(bytes.try_into().ok()?))
            }
        }
    )*};
}

numbers!(u8, i8, u16, u32, i32, u64, f32);

impl Wire<bool> for Flag {
    fn put(value: &bool, message: &mut Message) -> Result<(), TooLong> {
        message.param(&[u8::from(*value)])
    }

    fn take(bytes: &[u8]) -> Option<bool> {
        matches!(bytes, [_]).then(|| bytes != [0])
    }
}

impl<const N: usize> Wire<[u8; N]> for Raw {
    fn put(value: &[u8; N], message: &mut Message) -> Result<(), TooLong> {
        message.param(value)
    }

    fn take(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
}

impl Wire<Vec<u8>> for Raw {
    fn put(value: &Vec<u8>, message: &mut Message) -> Result<(), TooLong> {
        message.param(value)
    }

    fn take(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(bytes.to_vec())
    }
}

/// Text in a field of fixed length: filled up with zeros, without one where it fills the field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>(pub [u8; N]);

impl<const N: usize> Text<N> {
    /// The field that holds `text`, cut off where it is too long.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut field = [0; N];
        for (place, byte) in field.iter_mut().zip(text.bytes()) {
            *place = byte;
        }
        Self(field)
    }

    /// The text in front of the first zero. What is no UTF-8 shows as a replacement character.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(N);
        String::from_utf8_lossy(&self.0[..end])
    }
}

impl<const N: usize> std::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

impl<const N: usize> std::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

impl<const N: usize> Wire<Text<N>> for Raw {
    fn put(value: &Text<N>, message: &mut Message) -> Result<(), TooLong> {
        message.param(&value.0)
    }

    fn take(bytes: &[u8]) -> Option<Text<N>> {
        bytes.try_into().ok().map(Text)
    }
}
