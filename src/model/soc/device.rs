//! Device objects: who the chip is, how it is, its logs.

use std::time::{Duration, Instant};

use super::connection::{Connection, Reply, Request, Step};
use super::dispatch::id;
use super::lock;
use crate::spec::board::Chip;
use crate::spec::firmware::Version;
use crate::spec::rpc::types::{
    ArchitectureReply, ExtendedInfoReply, FetchLogsReply, FetchLogsRequest, FirmwareVersion,
    HealthReply, HealthReply500, IdentifyReply, Identity, PerformanceReply, SupportedFeatures,
    TemperatureReply,
};
use crate::spec::rpc::value::{ARCHITECTURE_10H, ARCHITECTURE_12L, info, log};
use crate::spec::rpc::{Dialect, Status};

/// Version of the control protocol.
const PROTOCOL: u32 = 2;
/// Load of the chip's processors, and memory in KiB: all there is, and what the system takes.
const CPU_LOAD: f32 = 12.5;
const RAM_TOTAL: i64 = 3_880_000;
const RAM_SYSTEM: i64 = 912_345;
/// Life-cycle state of a board in the field. Source: any number will do.
const LIFE_CYCLE: u32 = 3;

impl Connection {
    /// Checks a device handle.
    pub(super) fn device(&self, handle: u32) -> Step<()> {
        let known = lock(&self.server.objects).owns_device(self.id, handle);
        known.then_some(()).ok_or(Status::NOT_FOUND.into())
    }

    pub(super) fn destroy_device(&self, handle: u32) -> Reply {
        if self.device(handle).is_ok() {
            lock(&self.registrations).retain(|&(device, _), _| device != handle);
            lock(&self.server.objects).remove_device(handle);
        }
        Reply::empty()
    }

    pub(super) fn identify(&self, handle: u32) -> Step<Reply> {
        self.device(handle)?;
        let Version {
            major,
            minor,
            revision,
        } = self.server.settings.version;
        let settings = &self.server.settings;
        let name = match settings.chip {
            Chip::Hailo12l => "Hailo-12L",
            _ => "Hailo-10H",
        };
        let bytes = |text: &str| text.bytes().map(u32::from).collect::<Vec<u32>>();
        let (mut serial_number, mut part_number) = (Vec::new(), Vec::new());
        let mut product_name = String::new();
        if let Some(serial) = &settings.serial {
            serial_number = bytes(serial);
            part_number = bytes("SOFTWARE");
            product_name = format!("{name} in software");
        }
        Ok(Reply::of(&IdentifyReply {
            identity: Some(Identity {
                protocol_version: PROTOCOL,
                firmware: Some(FirmwareVersion {
                    major,
                    minor,
                    revision,
                }),
                board_name: name.to_owned(),
                is_release: true,
                extended_context_switch_buffer: true,
                architecture: self.server.architecture(),
                serial_number,
                part_number,
                product_name,
                ..Identity::default()
            }),
        }))
    }

    pub(super) fn extended_info(&self, handle: u32) -> Step<Reply> {
        self.device(handle)?;
        let zeros = |count| vec![0; count];
        Ok(Reply::of(&ExtendedInfoReply {
            features: Some(SupportedFeatures {
                pcie: true,
                power_measurement: self.server.settings.power_sensor
                    && self.server.settings.dialect >= Dialect::C,
                ..SupportedFeatures::default()
            }),
            soc_id: (0..info::SOC_ID)
                .map(|place| u32::try_from(0x10 + place).unwrap_or(0))
                .collect(),
            life_cycle_state: LIFE_CYCLE,
            ethernet_address: zeros(info::ETHERNET_ADDRESS),
            unit_tracking_id: zeros(info::UNIT_TRACKING_ID),
            process_monitor: zeros(info::PROCESS_MONITOR),
            ..ExtendedInfoReply::default()
        }))
    }

    pub(super) fn temperature(&self, handle: u32) -> Step<Reply> {
        self.device(handle)?;
        let [ts0, ts1] = lock(&self.server.sensors).temperatures(Instant::now());
        Ok(Reply::of(&TemperatureReply {
            ts0,
            ts1,
            sample_count: 1,
        }))
    }

    /// What only some chips can tell of themselves.
    fn has_statistics(&self) -> Step<()> {
        match self.server.settings.chip {
            Chip::Hailo10h => Ok(()),
            _ => Err(Status::INVALID_DEVICE_ARCHITECTURE.into()),
        }
    }

    pub(super) fn health(&self, handle: u32) -> Step<Reply> {
        self.device(handle)?;
        self.has_statistics()?;
        let [ts0, ts1] = lock(&self.server.sensors).temperatures(Instant::now());
        let temperature = ts0.max(ts1);
        Ok(if self.server.settings.version == Version::new(5, 0, 0) {
            Reply::of(&HealthReply500 {
                temperature,
                voltage_mv: -1.0,
                bist_failure_mask: -1,
            })
        } else {
            Reply::of(&HealthReply {
                temperature,
                voltage_mv: -1,
                bist_failure_mask: -1,
            })
        })
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a percentage is exact enough in 32 bits"
    )]
    pub(super) fn performance(&self, handle: u32) -> Step<Reply> {
        self.device(handle)?;
        self.has_statistics()?;
        self.take_time(Duration::from_millis(300)); // It samples one thing after the other.
        let load = lock(&self.server.sensors).load(Instant::now());
        let models = lock(&self.server.objects).model_bytes() / 1024;
        Ok(Reply::of(&PerformanceReply {
            cpu_utilization: CPU_LOAD,
            ram_total: RAM_TOTAL,
            ram_used: RAM_SYSTEM.saturating_add_unsigned(models),
            nnc_utilization: (load * 1000.0).round() as f32 / 10.0,
            ddr_transactions: -1,
            dsp_utilization: 0,
        }))
    }

    pub(super) fn architecture(&self, handle: u32) -> Step<Reply> {
        self.device(handle)?;
        Ok(Reply::of(&ArchitectureReply {
            architecture: self.server.architecture(),
        }))
    }

    pub(super) fn fetch_logs(&self, request: &Request) -> Step<Reply> {
        let body: FetchLogsRequest = request.body()?;
        self.device(id(body.handle))?;
        let kind = usize::try_from(body.log_type).unwrap_or(usize::MAX);
        let size = *log::SIZES.get(kind).ok_or(Status::NOT_SUPPORTED)?;
        if body.buffer_size != size {
            return Err(Status::INSUFFICIENT_BUFFER.into());
        }
        let mut text = match body.log_type {
            log::RUNTIME => std::mem::take(&mut *lock(&self.server.log)).into_bytes(),
            log::SYSTEM_CONTROL => self.server.system.control_log(),
            _ => format!("core: clock up, {:?}\n", self.server.settings.chip).into_bytes(),
        };
        // Of too much text the end is of interest.
        let size = usize::try_from(size).unwrap_or(0);
        text.drain(..text.len().saturating_sub(size));
        let mut reply = Reply::of(&FetchLogsReply {
            log_size: u32::try_from(text.len()).unwrap_or(0),
        });
        text.resize(size, 0);
        reply.buffers = vec![text];
        Ok(reply)
    }
}

impl super::Server {
    fn architecture(&self) -> u32 {
        match self.settings.chip {
            Chip::Hailo12l => ARCHITECTURE_12L,
            _ => ARCHITECTURE_10H,
        }
    }
}
