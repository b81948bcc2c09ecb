//! Latency, idle time, watchdogs, where events go, self-test: opcodes 24, 25, 34, 35, 38 to 40, 43, 44, 60, 68 to 70.
//!
//! Source: vendor hailort v5.2.0, `control_protocol.h`, `control_protocol.cpp`, `control.cpp`.

use super::command::{bodies, commands};
use super::open::open_enum;
use super::wire::{Be, Flag};

open_enum! {
    /// Who watches a CPU.
    pub enum WatchdogMode: u8 {
        /// Hardware and software.
        Both = 0 "hardware and software",
        /// Hardware only.
        Hardware = 1 "hardware",
    }

    /// Where events go.
    pub enum HostLink: u8 {
        /// To a UDP port.
        Udp = 0 "udp",
        /// To the notification slot.
        Vdma = 1 "vdma",
    }
}

bodies! {
    /// Measures the time between an inbound and an outbound stream.
    pub struct SetLatencyMeasurement {
        /// Whether it measures.
        enable: bool as Flag,
        /// First inbound buffer.
        first_inbound_buffer: u32 as Be,
        /// Last outbound buffer.
        last_outbound_buffer: u32 as Be,
        /// Inbound stream.
        inbound_stream: u32 as Be,
        /// Outbound stream.
        outbound_stream: u32 as Be,
    }

    /// Asks for the time measured.
    pub struct GetLatency {}

    /// The time measured.
    pub struct Latency {
        /// In nanoseconds.
        nanoseconds: u32 as Be,
    }

    /// Measures how long the neural core idles.
    pub struct SetIdleTimeMeasurement {
        /// Whether it measures.
        enable: bool as Flag,
    }

    /// Asks how long the neural core idled.
    pub struct GetIdleTime {}

    /// How long the neural core idled.
    pub struct IdleTime {
        /// In nanoseconds.
        nanoseconds: u64 as Be,
    }

    /// Switches the application CPU's watchdog.
    pub struct SetApplicationWatchdog {
        /// Whether it watches.
        enable: bool as Flag,
    }

    /// Sets up the application CPU's watchdog.
    pub struct ConfigureApplicationWatchdog {
        /// Cycles until it bites.
        cycles: u32 as Be,
        /// Who watches.
        mode: WatchdogMode as Be,
    }

    /// Asks how the application CPU ended last.
    pub struct GetApplicationPreviousState {}

    /// How a CPU ended last.
    pub struct PreviousState {
        /// Bits without a public meaning.
        state: u32 as Be,
    }

    /// Says where events go.
    pub struct SetHostInfo {
        /// How.
        link: HostLink as Be,
        /// IPv4 address, for UDP.
        address: u32 as Be,
        /// Port, for UDP.
        port: u16 as Be,
    }

    /// Has the firmware send its host info event.
    pub struct SendHostInfoEvent {
        /// Priority of the event.
        priority: u8 as Be,
    }

    /// Runs a self-test of memories. It destroys what the neural core holds.
    pub struct RunSelfTest {
        /// Whether the top is tested.
        top: bool as Flag,
        /// Blocks of the top that are left out.
        top_bypass: u32 as Be,
        /// Which cluster, 0 to 7.
        cluster: u8 as Be,
        /// Blocks of the cluster that are left out, low half.
        cluster_bypass_low: u32 as Be,
        /// High half.
        cluster_bypass_high: u32 as Be,
    }

    /// Asks how the core CPU ended last.
    pub struct GetCorePreviousState {}

    /// Switches the core CPU's watchdog.
    pub struct SetCoreWatchdog {
        /// Whether it watches.
        enable: bool as Flag,
    }

    /// Sets up the core CPU's watchdog.
    pub struct ConfigureCoreWatchdog {
        /// Cycles until it bites.
        cycles: u32 as Be,
        /// Who watches.
        mode: WatchdogMode as Be,
    }
}

commands! {
    SetLatencyMeasurement = 24 -> (),
    GetLatency = 25 -> Latency,
    SetIdleTimeMeasurement = 34 -> (),
    GetIdleTime = 35 -> IdleTime,
    SetApplicationWatchdog = 38 -> (),
    ConfigureApplicationWatchdog = 39 -> (),
    GetApplicationPreviousState = 40 -> PreviousState,
    SetHostInfo = 43 -> (),
    SendHostInfoEvent = 44 -> (),
    RunSelfTest = 60 -> (),
    GetCorePreviousState = 68 -> PreviousState,
    SetCoreWatchdog = 69 -> (),
    ConfigureCoreWatchdog = 70 -> (),
}
