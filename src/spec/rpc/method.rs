//! Methods by name, and their number in each dialect.
//!
//! Source: vendor hailort, `src/hrpc_protocol/serializer.hpp` of v5.0.0, v5.1.0, v5.1.1 and v5.2.0.

use super::Dialect;

/// Action id of a notification, from firmware 5.1.1 on; see [`Dialect::notification_action`].
///
/// Source: vendor hailort v5.2.0, `src/hrpc_protocol/serializer.hpp`.
pub const NOTIFICATION: u32 = 37;

/// Numbers in the dialects D, C, B and A; [`NONE`] where the method does not exist.
struct Row(Method, &'static str, [u32; 4]);

const NONE: u32 = u32::MAX;

/// What can be asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// Opens a virtual device.
    #[doc(alias = "VDEVICE__CREATE")]
    CreateVdevice,
    /// Closes a virtual device.
    #[doc(alias = "VDEVICE__DESTROY")]
    DestroyVdevice,
    /// Brings a HEF, which follows as a buffer.
    #[doc(alias = "VDEVICE__CREATE_INFER_MODEL")]
    CreateInferModel,
    /// Forgets a model.
    #[doc(alias = "INFER_MODEL__DESTROY")]
    DestroyInferModel,
    /// Configures a model.
    #[doc(alias = "INFER_MODEL__CREATE_CONFIGURED_INFER_MODEL")]
    Configure,
    /// Shuts a configured model down and forgets it.
    #[doc(alias = "CONFIGURED_INFER_MODEL__DESTROY")]
    DestroyConfigured,
    /// Sets the scheduler's time-out.
    #[doc(alias = "CONFIGURED_INFER_MODEL__SET_SCHEDULER_TIMEOUT")]
    SetSchedulerTimeout,
    /// Sets the scheduler's threshold.
    #[doc(alias = "CONFIGURED_INFER_MODEL__SET_SCHEDULER_THRESHOLD")]
    SetSchedulerThreshold,
    /// Sets the scheduler's priority.
    #[doc(alias = "CONFIGURED_INFER_MODEL__SET_SCHEDULER_PRIORITY")]
    SetSchedulerPriority,
    /// Reads the measured latency.
    #[doc(alias = "CONFIGURED_INFER_MODEL__GET_HW_LATENCY_MEASUREMENT")]
    GetLatency,
    /// Activates; only without the scheduler.
    #[doc(alias = "CONFIGURED_INFER_MODEL__ACTIVATE")]
    Activate,
    /// Deactivates.
    #[doc(alias = "CONFIGURED_INFER_MODEL__DEACTIVATE")]
    Deactivate,
    /// Aborts what is in flight; the model is unusable afterwards.
    #[doc(alias = "CONFIGURED_INFER_MODEL__SHUTDOWN")]
    Shutdown,
    /// Moves the position in the KV caches.
    #[doc(alias = "CONFIGURED_INFER_MODEL__UPDATE_CACHE_OFFSET")]
    UpdateCacheOffset,
    /// Sets the position in the KV caches.
    #[doc(alias = "CONFIGURED_INFER_MODEL__INIT_CACHE")]
    InitCache,
    /// Does nothing.
    #[doc(alias = "CONFIGURED_INFER_MODEL__FINALIZE_CACHE")]
    FinalizeCache,
    /// Reads the KV caches.
    #[doc(alias = "CONFIGURED_INFER_MODEL__GET_CACHE_BUFFERS")]
    GetCacheBuffers,
    /// Writes a KV cache.
    #[doc(alias = "CONFIGURED_INFER_MODEL__UPDATE_CACHE_BUFFER")]
    UpdateCacheBuffer,
    /// Runs one inference: inputs follow, outputs come back.
    #[doc(alias = "CONFIGURED_INFER_MODEL__RUN_ASYNC")]
    RunAsync,
    /// Runs one inference again and again for a time.
    #[doc(alias = "CONFIGURED_INFER_MODEL__RUN_ASYNC_FOR_DURATION")]
    RunForDuration,
    /// Makes a device object.
    #[doc(alias = "DEVICE__CREATE")]
    CreateDevice,
    /// Forgets a device object.
    #[doc(alias = "DEVICE__DESTROY")]
    DestroyDevice,
    /// Who it is.
    #[doc(alias = "DEVICE__IDENTIFY")]
    Identify,
    /// More of who it is.
    #[doc(alias = "DEVICE__EXTENDED_INFO")]
    ExtendedInfo,
    /// Temperatures.
    #[doc(alias = "DEVICE__GET_CHIP_TEMPERATURE")]
    GetTemperature,
    /// Measures power once.
    #[doc(alias = "DEVICE__POWER_MEASUREMENT")]
    MeasurePower,
    /// Chooses what is measured periodically.
    #[doc(alias = "DEVICE__SET_POWER_MEASUREMENT")]
    SetPowerMeasurement,
    /// Reads the statistics of the periodic measurement.
    #[doc(alias = "DEVICE__GET_POWER_MEASUREMENT")]
    GetPowerMeasurement,
    /// Starts the periodic measurement.
    #[doc(alias = "DEVICE__START_POWER_MEASUREMENT")]
    StartPowerMeasurement,
    /// Stops the periodic measurement.
    #[doc(alias = "DEVICE__STOP_POWER_MEASUREMENT")]
    StopPowerMeasurement,
    /// Temperature, voltage, self-tests.
    #[doc(alias = "DEVICE__QUERY_HEALTH_STATS")]
    QueryHealth,
    /// Load and memory.
    #[doc(alias = "DEVICE__QUERY_PERFORMANCE_STATS")]
    QueryPerformance,
    /// Which chip it is.
    #[doc(alias = "DEVICE__GET_ARCHITECTURE")]
    GetArchitecture,
    /// Registers for a notification.
    #[doc(alias = "DEVICE__SET_NOTIFICATION_CALLBACK")]
    SetNotification,
    /// Ends a registration.
    #[doc(alias = "DEVICE__REMOVE_NOTIFICATION_CALLBACK")]
    RemoveNotification,
    /// Reads a log, which follows the reply as a buffer.
    #[doc(alias = "DEVICE__FETCH_LOGS")]
    FetchLogs,
    /// Sends a buffer back.
    #[doc(alias = "DEVICE__ECHO_BUFFER")]
    EchoBuffer,
    /// Reboots the chip's Linux; there is no reply.
    #[doc(alias = "SYSTEM__RESET")]
    Reset,
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row(Method::CreateVdevice, "VDEVICE__CREATE", [0, 0, 0, 0]),
    Row(Method::DestroyVdevice, "VDEVICE__DESTROY", [1, 1, 1, 1]),
    Row(Method::CreateInferModel, "VDEVICE__CREATE_INFER_MODEL", [2, 2, 2, 2]),
    Row(Method::DestroyInferModel, "INFER_MODEL__DESTROY", [3, 3, 3, 3]),
    Row(Method::Configure, "INFER_MODEL__CREATE_CONFIGURED_INFER_MODEL", [4, 4, 4, 4]),
    Row(Method::DestroyConfigured, "CONFIGURED_INFER_MODEL__DESTROY", [5, 5, 5, 5]),
    Row(Method::SetSchedulerTimeout, "CONFIGURED_INFER_MODEL__SET_SCHEDULER_TIMEOUT", [6, 6, 6, 6]),
    Row(Method::SetSchedulerThreshold, "CONFIGURED_INFER_MODEL__SET_SCHEDULER_THRESHOLD", [7, 7, 7, 7]),
    Row(Method::SetSchedulerPriority, "CONFIGURED_INFER_MODEL__SET_SCHEDULER_PRIORITY", [8, 8, 8, 8]),
    Row(Method::GetLatency, "CONFIGURED_INFER_MODEL__GET_HW_LATENCY_MEASUREMENT", [9, 9, 9, 9]),
    Row(Method::Activate, "CONFIGURED_INFER_MODEL__ACTIVATE", [10, 10, 10, 10]),
    Row(Method::Deactivate, "CONFIGURED_INFER_MODEL__DEACTIVATE", [11, 11, 11, 11]),
    Row(Method::Shutdown, "CONFIGURED_INFER_MODEL__SHUTDOWN", [12, 12, 12, 12]),
    Row(Method::UpdateCacheOffset, "CONFIGURED_INFER_MODEL__UPDATE_CACHE_OFFSET", [13, 13, 13, NONE]),
    Row(Method::InitCache, "CONFIGURED_INFER_MODEL__INIT_CACHE", [14, 14, 14, NONE]),
    Row(Method::FinalizeCache, "CONFIGURED_INFER_MODEL__FINALIZE_CACHE", [15, 15, 15, NONE]),
    Row(Method::GetCacheBuffers, "CONFIGURED_INFER_MODEL__GET_CACHE_BUFFERS", [16, 16, NONE, NONE]),
    Row(Method::UpdateCacheBuffer, "CONFIGURED_INFER_MODEL__UPDATE_CACHE_BUFFER", [17, 17, NONE, NONE]),
    Row(Method::RunAsync, "CONFIGURED_INFER_MODEL__RUN_ASYNC", [18, 18, 16, 13]),
    Row(Method::RunForDuration, "CONFIGURED_INFER_MODEL__RUN_ASYNC_FOR_DURATION", [19, 19, 17, NONE]),
    Row(Method::CreateDevice, "DEVICE__CREATE", [20, 20, 18, 14]),
    Row(Method::DestroyDevice, "DEVICE__DESTROY", [21, 21, 19, 15]),
    Row(Method::Identify, "DEVICE__IDENTIFY", [22, 22, 20, 16]),
    Row(Method::ExtendedInfo, "DEVICE__EXTENDED_INFO", [23, 23, 21, 17]),
    Row(Method::GetTemperature, "DEVICE__GET_CHIP_TEMPERATURE", [24, 24, 22, 18]),
    Row(Method::MeasurePower, "DEVICE__POWER_MEASUREMENT", [25, 25, 23, 19]),
    Row(Method::SetPowerMeasurement, "DEVICE__SET_POWER_MEASUREMENT", [26, 26, 24, 20]),
    Row(Method::GetPowerMeasurement, "DEVICE__GET_POWER_MEASUREMENT", [27, 27, 25, 21]),
    Row(Method::StartPowerMeasurement, "DEVICE__START_POWER_MEASUREMENT", [28, 28, 26, 22]),
    Row(Method::StopPowerMeasurement, "DEVICE__STOP_POWER_MEASUREMENT", [29, 29, 27, 23]),
    Row(Method::QueryHealth, "DEVICE__QUERY_HEALTH_STATS", [30, 30, 28, 24]),
    Row(Method::QueryPerformance, "DEVICE__QUERY_PERFORMANCE_STATS", [31, 31, 29, 25]),
    Row(Method::GetArchitecture, "DEVICE__GET_ARCHITECTURE", [32, 32, 30, 26]),
    Row(Method::SetNotification, "DEVICE__SET_NOTIFICATION_CALLBACK", [33, 33, 31, 27]),
    Row(Method::RemoveNotification, "DEVICE__REMOVE_NOTIFICATION_CALLBACK", [34, 34, 32, 28]),
    Row(Method::FetchLogs, "DEVICE__FETCH_LOGS", [35, 35, 33, 29]),
    Row(Method::EchoBuffer, "DEVICE__ECHO_BUFFER", [36, 36, NONE, NONE]),
    Row(Method::Reset, "SYSTEM__RESET", [38, NONE, NONE, NONE]),
];

const fn column(dialect: Dialect) -> usize {
    match dialect {
        Dialect::D => 0,
        Dialect::C => 1,
        Dialect::B => 2,
        Dialect::A => 3,
    }
}

impl Method {
    /// All of them, in the order of their numbers.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.0 == self)
    }

    /// Its number in `dialect`; `None` where that does not have it.
    #[must_use]
    pub fn number(self, dialect: Dialect) -> Option<u32> {
        let number = self.row()?.2[column(dialect)];
        (number != NONE).then_some(number)
    }

    /// The method with this number in `dialect`.
    #[must_use]
    pub fn from_number(dialect: Dialect, number: u32) -> Option<Self> {
        TABLE
            .iter()
            .find(|row| number != NONE && row.2[column(dialect)] == number)
            .map(|row| row.0)
    }

    /// The vendor's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.1)
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
