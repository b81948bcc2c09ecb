//! Methods by number: what each one takes, and who answers it.

use std::time::Duration;

use prost::Message;

use super::connection::{Connection, Outcome, Reply, Request, Step};
use super::lock;
use crate::model::rpc_fault::RpcWrong;
use crate::spec::rpc::types::{
    CacheBuffersReply, CreateInferModelRequest, EchoRequest, Handle, HandleReply, HandleRequest,
    InitCacheRequest, SetSchedulerPriorityRequest, SetSchedulerThresholdRequest,
    SetSchedulerTimeoutRequest, UpdateCacheBufferRequest, UpdateCacheOffsetRequest,
};
use crate::spec::rpc::{Method, Status};

/// The id in a handle; one that was left out is 0.
pub(super) fn id(handle: Option<Handle>) -> u32 {
    handle.unwrap_or_default().id
}

/// A reply that is a handle.
pub(super) fn handle_reply(id: u32) -> Reply {
    Reply::of(&HandleReply {
        handle: Some(Handle { id }),
    })
}

impl Request {
    /// The body.
    pub(super) fn body<M: Message + Default>(&self) -> Step<M> {
        M::decode(self.body.as_slice()).map_err(|_| Status::RPC_FAILED.into())
    }

    /// The body of a method whose buffers can't be found without it.
    pub(super) fn body_before_buffers<M: Message + Default>(&self) -> Step<M> {
        M::decode(self.body.as_slice()).map_err(|_| Outcome::FailedForGood(Status::RPC_FAILED))
    }

    fn handle(&self) -> Step<u32> {
        Ok(id(self.body::<HandleRequest>()?.handle))
    }
}

impl Connection {
    /// Reads the buffers that follow a message of `method`.
    pub(super) fn read_inputs(&self, method: Method, request: &mut Request) -> Step<()> {
        let len = match method {
            Method::CreateInferModel => {
                let body: CreateInferModelRequest = request.body_before_buffers()?;
                usize::try_from(body.hef_size).unwrap_or(usize::MAX)
            }
            Method::EchoBuffer => {
                let body: EchoRequest = request.body_before_buffers()?;
                self.echo_len(usize::try_from(body.buffer_size).unwrap_or(usize::MAX))
            }
            Method::RunAsync | Method::RunForDuration => return self.read_frame(method, request),
            _ => return Ok(()),
        };
        request.inputs.push(self.read_buffer(request, len)?);
        Ok(())
    }

    /// How many bytes an echo takes.
    fn echo_len(&self, asked: usize) -> usize {
        if !self.server.settings.quirks {
            return asked;
        }
        let mut kept = lock(&self.server.echo);
        if *kept == 0 || asked == 0 {
            *kept = asked;
        }
        *kept
    }

    pub(super) fn act(&self, method: Method, request: &mut Request) -> Outcome {
        match self.step(method, request) {
            Ok(Some(reply)) => Outcome::Reply(reply),
            Ok(None) => Outcome::Nothing,
            Err(outcome) => outcome,
        }
    }

    fn step(&self, method: Method, request: &mut Request) -> Step<Option<Reply>> {
        let reply = match method {
            Method::CreateVdevice => self.create_vdevice(request)?,
            Method::DestroyVdevice => self.destroy_vdevice(request.handle()?),
            Method::CreateInferModel => self.create_infer_model(request)?,
            Method::DestroyInferModel => self.destroy_infer_model(request.handle()?),
            Method::Configure => self.configure(request)?,
            Method::DestroyConfigured => self.destroy_configured(request.handle()?)?,
            Method::SetSchedulerTimeout => {
                let body: SetSchedulerTimeoutRequest = request.body()?;
                self.scheduled(id(body.handle))?;
                Reply::empty()
            }
            Method::SetSchedulerThreshold => {
                let body: SetSchedulerThresholdRequest = request.body()?;
                self.scheduled(id(body.handle))?;
                Reply::empty()
            }
            Method::SetSchedulerPriority => {
                let body: SetSchedulerPriorityRequest = request.body()?;
                self.scheduled(id(body.handle))?
                    .set_priority(body.priority)?;
                Reply::empty()
            }
            Method::GetLatency => self.latency(request.handle()?)?,
            Method::Activate => self.activate(request.handle()?)?,
            Method::Deactivate => self.deactivate(request.handle()?)?,
            Method::Shutdown => {
                let configured = self.configured(request.handle()?)?;
                self.deactivate(configured.handle)?;
                self.shut_down(&configured)?;
                Reply::empty()
            }
            Method::UpdateCacheOffset => {
                let body: UpdateCacheOffsetRequest = request.body()?;
                self.configured(id(body.handle))?.move_cache(body.delta)?;
                Reply::empty()
            }
            Method::InitCache => {
                let body: InitCacheRequest = request.body()?;
                self.configured(id(body.handle))?
                    .set_cache(body.read_offset)?;
                Reply::empty()
            }
            Method::FinalizeCache => {
                self.configured(request.handle()?)?;
                Reply::empty()
            }
            Method::GetCacheBuffers => {
                // Caches of a real model never fit a message.
                let configured = self.configured(request.handle()?)?;
                if configured.has_caches() {
                    return Err(Status::NOT_SUPPORTED.into());
                }
                Reply::of(&CacheBuffersReply::default())
            }
            Method::UpdateCacheBuffer => {
                let body: UpdateCacheBufferRequest = request.body()?;
                self.configured(id(body.handle))?;
                Reply::empty()
            }
            Method::RunAsync | Method::RunForDuration => {
                return self.start_frame(method, request).map(|()| None);
            }
            Method::CreateDevice => handle_reply(lock(&self.server.objects).add_device(self.id)),
            Method::DestroyDevice => self.destroy_device(request.handle()?),
            Method::Identify => self.identify(request.handle()?)?,
            Method::ExtendedInfo => self.extended_info(request.handle()?)?,
            Method::GetTemperature => self.temperature(request.handle()?)?,
            Method::MeasurePower => self.measure_power(request)?,
            Method::SetPowerMeasurement => self.set_power_measurement(request)?,
            Method::GetPowerMeasurement => self.get_power_measurement(request)?,
            Method::StartPowerMeasurement => self.start_power_measurement(request)?,
            Method::StopPowerMeasurement => self.stop_power_measurement(request.handle()?)?,
            Method::QueryHealth => self.health(request.handle()?)?,
            Method::QueryPerformance => self.performance(request.handle()?)?,
            Method::GetArchitecture => self.architecture(request.handle()?)?,
            Method::SetNotification => self.set_notification(request)?,
            Method::RemoveNotification => self.remove_notification(request)?,
            Method::FetchLogs => self.fetch_logs(request)?,
            Method::EchoBuffer => Reply {
                body: Vec::new(),
                buffers: std::mem::take(&mut request.inputs),
            },
            Method::Reset => {
                let refused = |what| matches!(what, RpcWrong::Status(_));
                if lock(&self.server.faults).plans_rpc(request.action, refused) {
                    return Ok(Some(Reply::empty())); // On its way out it becomes the refusal.
                }
                self.server.system.reboot();
                return Err(Outcome::Close);
            }
        };
        Ok(Some(reply))
    }

    /// Waits as long as a board takes for something.
    pub(super) fn take_time(&self, time: Duration) {
        if self.server.settings.timing {
            self.stream.rest(time);
        }
    }
}
