//! Requests and what they are answered with, as pairs of types.

use prost::Message;

use crate::spec::rpc::Method;
use crate::spec::rpc::types::{
    ArchitectureReply, CacheBuffersReply, ConfigureReply, ConfigureRequest,
    CreateInferModelRequest, CreateVdeviceRequest, EchoRequest, Empty, ExtendedInfoReply,
    FetchLogsReply, FetchLogsRequest, GetPowerReply, GetPowerRequest, HandleReply, HandleRequest,
    HealthReply, HealthReply500, IdentifyReply, InitCacheRequest, LatencyReply, PerformanceReply,
    PowerReply, PowerRequest, RemoveNotificationRequest, RunAsyncRequest, RunForDurationReply,
    RunForDurationRequest, RunForDurationRequest510, SetNotificationRequest,
    SetSchedulerPriorityRequest, SetSchedulerThresholdRequest, SetSchedulerTimeoutRequest,
    StartPowerRequest, TemperatureReply, UpdateCacheBufferRequest, UpdateCacheOffsetRequest,
};

/// A method with the types of its bodies.
pub trait Request {
    /// Which method.
    const METHOD: Method;
    /// What is sent.
    type Body: Message;
    /// What comes back with status 0.
    type Response: Message + Default;
}

macro_rules! requests {
    ($($name:ident: $method:ident, $body:ident => $response:ident;)*) => {$(
        #[doc = concat!("[`Method::", stringify!($method), "`].")]
        #[derive(Debug)]
        pub enum $name {}

        impl Request for $name {
            const METHOD: Method = Method::$method;
            type Body = $body;
            type Response = $response;
        }
    )*};
}

requests! {
    CreateVdevice: CreateVdevice, CreateVdeviceRequest => HandleReply;
    DestroyVdevice: DestroyVdevice, HandleRequest => Empty;
    CreateInferModel: CreateInferModel, CreateInferModelRequest => HandleReply;
    DestroyInferModel: DestroyInferModel, HandleRequest => Empty;
    Configure: Configure, ConfigureRequest => ConfigureReply;
    DestroyConfigured: DestroyConfigured, HandleRequest => Empty;
    SetSchedulerTimeout: SetSchedulerTimeout, SetSchedulerTimeoutRequest => Empty;
    SetSchedulerThreshold: SetSchedulerThreshold, SetSchedulerThresholdRequest => Empty;
    SetSchedulerPriority: SetSchedulerPriority, SetSchedulerPriorityRequest => Empty;
    GetLatency: GetLatency, HandleRequest => LatencyReply;
    Activate: Activate, HandleRequest => Empty;
    Deactivate: Deactivate, HandleRequest => Empty;
    Shutdown: Shutdown, HandleRequest => Empty;
    UpdateCacheOffset: UpdateCacheOffset, UpdateCacheOffsetRequest => Empty;
    InitCache: InitCache, InitCacheRequest => Empty;
    FinalizeCache: FinalizeCache, HandleRequest => Empty;
    GetCacheBuffers: GetCacheBuffers, HandleRequest => CacheBuffersReply;
    UpdateCacheBuffer: UpdateCacheBuffer, UpdateCacheBufferRequest => Empty;
    RunAsync: RunAsync, RunAsyncRequest => Empty;
    RunForDuration: RunForDuration, RunForDurationRequest => RunForDurationReply;
    RunForDuration510: RunForDuration, RunForDurationRequest510 => RunForDurationReply;
    CreateDevice: CreateDevice, Empty => HandleReply;
    DestroyDevice: DestroyDevice, HandleRequest => Empty;
    Identify: Identify, HandleRequest => IdentifyReply;
    ExtendedInfo: ExtendedInfo, HandleRequest => ExtendedInfoReply;
    GetTemperature: GetTemperature, HandleRequest => TemperatureReply;
    MeasurePower: MeasurePower, PowerRequest => PowerReply;
    SetPowerMeasurement: SetPowerMeasurement, PowerRequest => Empty;
    GetPowerMeasurement: GetPowerMeasurement, GetPowerRequest => GetPowerReply;
    StartPowerMeasurement: StartPowerMeasurement, StartPowerRequest => Empty;
    StopPowerMeasurement: StopPowerMeasurement, HandleRequest => Empty;
    QueryHealth: QueryHealth, HandleRequest => HealthReply;
    QueryHealth500: QueryHealth, HandleRequest => HealthReply500;
    QueryPerformance: QueryPerformance, HandleRequest => PerformanceReply;
    GetArchitecture: GetArchitecture, HandleRequest => ArchitectureReply;
    SetNotification: SetNotification, SetNotificationRequest => Empty;
    RemoveNotification: RemoveNotification, RemoveNotificationRequest => Empty;
    FetchLogs: FetchLogs, FetchLogsRequest => FetchLogsReply;
    EchoBuffer: EchoBuffer, EchoRequest => Empty;
    Reset: Reset, Empty => Empty;
}

/// Whether buffers follow a reply with status 0.
pub(super) fn brings_buffers(method: Method) -> bool {
    matches!(
        method,
        Method::RunAsync | Method::RunForDuration | Method::FetchLogs | Method::EchoBuffer
    )
}

/// Whether the server may be busy with it for longer than it lets a connection wait: nothing else is sent while
/// it is out.
pub(super) fn is_exclusive(method: Method) -> bool {
    matches!(
        method,
        Method::CreateInferModel
            | Method::Configure
            | Method::DestroyConfigured
            | Method::Shutdown
            | Method::Reset
    )
}

/// Whether the server frees its message buffer at once, so that many can be out.
pub(super) fn is_pipelined(method: Method) -> bool {
    matches!(method, Method::RunAsync)
}
