//! The macro that makes the actions from one table, and what the fields of the table mean.

/// What a field of an action holds.
macro_rules! meaning {
    (descriptors) => {
        "Descriptors."
    };
    (channel) => {
        "Channel."
    };
    (stream) => {
        "Stream; in a change of mapping possibly the null stream."
    };
    (config_stream) => {
        "Config stream."
    };
    (network) => {
        "Network; inputs from contexts and caches are left at 0 by hosts."
    };
    (cluster) => {
        "Cluster."
    };
    (l3_cut) => {
        "First cut of the L3 memory."
    };
    (l3_offset) => {
        "Offset in that cut in bytes."
    };
    (active_apu) => {
        "Processing units in use, a bit each."
    };
    (active_ia) => {
        "Input aligners in use, a bit each."
    };
    (active_sc) => {
        "Subclusters in use, a bit each."
    };
    (active_l2) => {
        "L2 memories in use, a bit each."
    };
    (l2_offset_0) => {
        "First L2 offset."
    };
    (l2_offset_1) => {
        "Second L2 offset."
    };
    (frame_size) => {
        "Size of a frame: bytes, or what the credit type says."
    };
    (credit_type) => {
        "What the size of a frame counts."
    };
    (buffer_type) => {
        "Type of the buffer."
    };
    (lcu) => {
        "Layer controller."
    };
    (done_address) => {
        "Kernel-done address."
    };
    (done_count) => {
        "Kernel-done count."
    };
    (registers) => {
        "Registers of the stream."
    };
    (buffer) => {
        "Its memory."
    };
    (initial_credit) => {
        "Credit to begin with, or to leave behind, in bytes."
    };
    (paired_channel) => {
        "Channel of the writing end."
    };
    (buffered_rows) => {
        "Rows that the ring holds at least."
    };
    (direction) => {
        "Which way the channel moves data."
    };
    (check_host_empty) => {
        "1 to check that the list is used up."
    };
    (dummy) => {
        "1 for the null stream."
    };
    (input_channel) => {
        "Channel of the reading end."
    };
    (output_channel) => {
        "Channel of the writing end."
    };
    (descriptors_per_frame) => {
        "Descriptors of a frame."
    };
    (programmed_descriptors) => {
        "Descriptors of the ring."
    };
    (is_inter_context) => {
        "1 for a layer between contexts."
    };
    (module) => {
        "Module."
    };
    (count) => {
        "Actions that follow."
    };
    (last_executed) => {
        "How many have run, 0 in an upload."
    };
    (sub_type) => {
        "Number of their kind."
    };
    (aggregator) => {
        "Aggregator."
    };
    (pred_buffer) => {
        "Output buffer that feeds the unit."
    };
    (pred_cluster) => {
        "Cluster of that buffer."
    };
    (pred_interface) => {
        "Interface of that buffer."
    };
    (succ_buffer) => {
        "Output buffer behind the unit."
    };
    (succ_interface) => {
        "Interface of that buffer."
    };
    (bursts) => {
        "Bursts: writes of the file."
    };
    (periph_bytes) => {
        "Bytes of a buffer on the interface side."
    };
    (unit) => {
        "Detection unit."
    };
    (classes) => {
        "Classes."
    };
    (burst) => {
        "Boxes of a burst."
    };
    (division_factor) => {
        "Chunks of a frame."
    };
    (address) => {
        "Address of the register, a multiple of 4."
    };
    (kind) => {
        "Where the value comes from."
    };
    (data) => {
        "Value."
    };
    (shift) => {
        "Left shift of the value."
    };
    (mask) => {
        "Bits to change."
    };
    (batch) => {
        "Entries of a frame."
    };
    (microseconds) => {
        "Microseconds."
    };
}

/// Whether several in a row may share one header.
macro_rules! repeats {
    (repeats) => {
        true
    };
    (alone) => {
        false
    };
}

/// Makes [`Action`](super::Action) and [`ActionKind`](super::ActionKind) from a table: number, name, whether it may be repeated, variant, fields
/// in the order of the wire.
macro_rules! actions {
    ($(
        $(#[$doc:meta])*
        $number:literal $name:literal $repeats:ident $variant:ident $({ $($field:ident: $type:ty,)* })?;
    )*) => {
        /// One step of a context.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
        #[serde(tag = "action", rename_all = "snake_case")]
        pub enum Action {
            $($(#[$doc])* $variant $({ $(#[doc = meaning!($field)] $field: $type,)* })?,)*
        }

        /// Kinds of actions; the number is the type in a list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ActionKind {
            $($(#[$doc])* $variant = $number,)*
        }

        impl ActionKind {
            /// All kinds by number.
            pub const ALL: [Self; 45] = [$(Self::$variant),*];

            /// Name in messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Bytes of the parameters, without the header of 5.
            #[must_use]
            pub const fn parameter_bytes(self) -> usize {
                match self { $(Self::$variant => 0 $($(+ <$type as Field>::BYTES)*)?,)* }
            }

            /// Whether several in a row may share one header.
            #[must_use]
            pub const fn is_repeatable(self) -> bool {
                match self { $(Self::$variant => repeats!($repeats),)* }
            }
        }

        impl Action {
            /// Which kind it is.
            #[must_use]
            pub const fn kind(&self) -> ActionKind {
                match self { $(Self::$variant { .. } => ActionKind::$variant,)* }
            }

            /// Appends the parameters without the header.
            pub fn encode_parameters(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant { $($($field),*)? } => { $($($field.put(out);)*)? })*
                }
            }

            /// Takes the parameters of `kind` off the front; `None` if too little is left.
            pub(super) fn decode(kind: ActionKind, bytes: &mut &[u8]) -> Option<Self> {
                Some(match kind {
                    $(ActionKind::$variant => Self::$variant { $($($field: Field::take(bytes)?),*)? },)*
                })
            }

            /// The memory it names.
            #[must_use]
            pub fn buffer(&self) -> Option<&BufferInfo> {
                match self {
                    $(Self::$variant { $($($field),*)? } => None$($(.or(Field::buffer($field)))*)?,)*
                }
            }

            /// The memory it names, to fill in the address.
            pub fn buffer_mut(&mut self) -> Option<&mut BufferInfo> {
                match self {
                    $(Self::$variant { $($($field),*)? } => None$($(.or(Field::buffer_mut($field)))*)?,)*
                }
            }

            /// The channel it concerns; of a DDR pair the reading end.
            #[must_use]
            pub fn channel(&self) -> Option<ChannelId> {
                match self {
                    $(Self::$variant { $($($field),*)? } => None$($(.or(Field::channel($field)))*)?,)*
                }
            }
        }

        impl fmt::Display for Action {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.kind().name())?;
                let mut mark = ":";
                match self {
                    $(Self::$variant { $($($field),*)? } => {
                        $($(
                            write!(f, "{mark} {} ", stringify!($field).replace('_', " "))?;
                            match Field::bits($field) {
                                Some(bits) if is_bits(stringify!($field)) => write!(f, "{bits:#x}")?,
                                _ => write!(f, "{}", $field)?,
                            }
                            mark = ",";
                        )*)?
                    })*
                }
                let _ = mark;
                Ok(())
            }
        }
    };
}

pub(super) use {actions, meaning, repeats};
