//! What the two ends of a vfio-user connection tell each other about themselves.

/// Capabilities that the two ends tell each other, as JSON.
///
/// Source: specification, "VFIO_USER_VERSION".
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct VersionData {
    /// The one object that the protocol defines.
    #[serde(default)]
    pub capabilities: Capabilities,
}

/// See [`VersionData`]. What is absent has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Capabilities {
    /// Most descriptors that the sender takes in one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msg_fds: Option<u32>,
    /// Most bytes of data that the sender takes in one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_data_xfer_size: Option<u32>,
    /// Most DMA mappings at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_dma_maps: Option<u32>,
    /// Page sizes of DMA mappings, one bit each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgsizes: Option<u64>,
    /// A second socket for the server's commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub twin_socket: Option<TwinSocket>,
    /// Whether [`super::Command::RegionWriteMulti`] is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_multiple: Option<bool>,
}

/// See [`Capabilities::twin_socket`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TwinSocket {
    /// Whether the sender can do it, or has done it.
    #[serde(default)]
    pub supported: bool,
    /// In the server's reply: which of the descriptors that came with it is the socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fd_index: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As QEMU 11 writes them (`hw/vfio-user/proxy.c`).
    #[test]
    fn capabilities_of_qemu_are_read() {
        let text = r#"{"capabilities": {"write_multiple": true, "max_msg_fds": 16, "max_data_xfer_size": 1048576, "pgsizes": 4096, "max_dma_maps": 65535, "migration": {"pgsize": 4096, "max_bitmap_size": 268435456}}}"#;
        let data: VersionData = serde_json::from_str(text).unwrap();
        assert_eq!(data.capabilities.max_msg_fds, Some(16));
        assert_eq!(data.capabilities.write_multiple, Some(true));
        assert_eq!(data.capabilities.twin_socket, None);
    }

    #[test]
    fn what_is_absent_is_not_written() {
        let data = VersionData {
            capabilities: Capabilities {
                max_msg_fds: Some(8),
                ..Capabilities::default()
            },
        };
        assert_eq!(
            serde_json::to_string(&data).unwrap(),
            r#"{"capabilities":{"max_msg_fds":8}}"#
        );
    }
}
