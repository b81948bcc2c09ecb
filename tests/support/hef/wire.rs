//! The protobuf wire form, written by hand.

/// A message under construction. Zero values are left out, as a proto3 writer does.
#[derive(Clone, Debug, Default)]
pub(crate) struct Msg {
    bytes: Vec<u8>,
}

impl Msg {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Fields that are written already.
    pub(crate) fn raw(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        self.bytes.push(u8::try_from(value).unwrap());
    }

    fn tag(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    /// A number.
    pub(crate) fn u(mut self, field: u32, value: impl Into<u64>) -> Self {
        let value = value.into();
        if value != 0 {
            self.tag(field, 0);
            self.varint(value);
        }
        self
    }

    /// A number that is written even if it is 0.
    pub(crate) fn always(mut self, field: u32, value: impl Into<u64>) -> Self {
        self.tag(field, 0);
        self.varint(value.into());
        self
    }

    /// A number that may be negative.
    pub(crate) fn i32(self, field: u32, value: i32) -> Self {
        self.u(field, i64::from(value).cast_unsigned())
    }

    pub(crate) fn flag(self, field: u32, value: bool) -> Self {
        self.u(field, u64::from(value))
    }

    pub(crate) fn f32(mut self, field: u32, value: f32) -> Self {
        if value != 0.0 {
            self.tag(field, 5);
            self.bytes.extend(value.to_le_bytes());
        }
        self
    }

    pub(crate) fn f64(mut self, field: u32, value: f64) -> Self {
        if value != 0.0 {
            self.tag(field, 1);
            self.bytes.extend(value.to_le_bytes());
        }
        self
    }

    /// Bytes, text, or anything else with a length.
    pub(crate) fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.tag(field, 2);
        self.varint(u64::try_from(value.len()).unwrap());
        self.bytes.extend(value);
        self
    }

    pub(crate) fn msg(self, field: u32, value: &Msg) -> Self {
        self.bytes(field, &value.bytes)
    }

    pub(crate) fn all<T>(
        self,
        field: u32,
        values: impl IntoIterator<Item = T>,
        write: impl Fn(T) -> Msg,
    ) -> Self {
        values
            .into_iter()
            .fold(self, |msg, value| msg.msg(field, &write(value)))
    }

    pub(crate) fn texts(self, field: u32, values: &[String]) -> Self {
        values
            .iter()
            .fold(self, |msg, value| msg.bytes(field, value))
    }

    pub(crate) fn packed_u32(self, field: u32, values: impl IntoIterator<Item = u32>) -> Self {
        let mut inner = Self::new();
        values
            .into_iter()
            .for_each(|value| inner.varint(value.into()));
        if inner.bytes.is_empty() {
            self
        } else {
            self.msg(field, &inner)
        }
    }

    pub(crate) fn packed_f32(self, field: u32, values: impl IntoIterator<Item = f32>) -> Self {
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        if bytes.is_empty() {
            self
        } else {
            self.bytes(field, bytes)
        }
    }

    pub(crate) fn packed_f64(self, field: u32, values: &[f64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        if bytes.is_empty() {
            self
        } else {
            self.bytes(field, bytes)
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
