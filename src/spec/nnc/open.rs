//! Enumerated numbers: each has names for what is known and keeps what is not.

/// Makes an enumeration of wire numbers in which an unknown one keeps its value.
macro_rules! open_enum {
    ($($(#[$meta:meta])* pub enum $name:ident: $raw:ty {
        $($(#[$vmeta:meta])* $variant:ident = $value:literal $text:literal,)*
    })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)*
            /// A number without a name.
            Other($raw),
        }

        impl $name {
            /// The number on the wire.
            #[must_use]
            pub const fn raw(self) -> $raw {
                match self {
                    $(Self::$variant => $value,)*
                    Self::Other(raw) => raw,
                }
            }

            /// Whether the number has a name.
            #[must_use]
            pub const fn is_known(self) -> bool {
                !matches!(Self::from_raw(self.raw()), Self::Other(_))
            }

            /// What the number means.
            #[must_use]
            pub const fn from_raw(raw: $raw) -> Self {
                match raw {
                    $($value => Self::$variant,)*
                    _ => Self::Other(raw),
                }
            }
        }

        impl From<$raw> for $name {
            fn from(raw: $raw) -> Self {
                Self::from_raw(raw)
            }
        }

        impl From<$name> for $raw {
            fn from(value: $name) -> Self {
                value.raw()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)*
                    Self::Other(raw) => write!(f, "{raw:#x}"),
                }
            }
        }

        impl<W: $crate::spec::nnc::wire::Wire<$raw>> $crate::spec::nnc::wire::Wire<$name> for W {
            fn put(
                value: &$name,
                message: &mut $crate::spec::nnc::message::Message,
            ) -> Result<(), $crate::spec::nnc::message::TooLong> {
                W::put(&value.raw(), message)
            }

            fn take(bytes: &[u8]) -> Option<$name> {
                W::take(bytes).map($name::from_raw)
            }
        }

        /// As text: the name, or the number in hexadecimal.
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

pub(crate) use open_enum;
