//! What the firmware is told about networks: each function is one control.

use std::sync::Arc;

use super::InferError;
use super::network::Net;
use crate::nnc::{ControlError, Nnc};
use crate::spec::nnc::Cpu;
use crate::spec::nnc::context::ContextKind;
use crate::spec::nnc::state::{Reset, ResetKind};
use crate::spec::nnc::switch::{
    BoundaryMode, ChangeHwInfer, ChangeStatus, ClearApplications, DownloadActions, GetHwConstants,
    HwConstants, HwInferResult, HwInferState, SetContextInfo, SetNetworkGroupHeader,
    SignalCacheUpdated, SwitchState, TableChannel,
};

/// Application that a reset names: it means none.
///
/// Source: vendor hailort v5.2.0, `control.cpp`.
const NO_APPLICATION: u8 = 255;

/// The networks as the firmware has them.
#[derive(Debug, Default)]
pub(super) struct Firmware {
    /// By their index in the firmware.
    pub(super) order: Vec<Arc<Net>>,
    /// Whether it was told to forget an earlier owner's.
    pub(super) clean: bool,
    pub(super) constants: Option<HwConstants>,
    pub(super) caches: super::memory::Caches,
}

/// Stops what runs; no application is active then.
pub(super) fn reset(nnc: &Nnc) -> Result<(), ControlError> {
    change(nnc, SwitchState::Reset, NO_APPLICATION, 0)
}

/// Has `application` run, with batches of `batch` frames.
pub(super) fn enable(nnc: &Nnc, application: u8, batch: u16) -> Result<(), ControlError> {
    change(nnc, SwitchState::Enabled, application, batch)
}

fn change(nnc: &Nnc, state: SwitchState, application: u8, batch: u16) -> Result<(), ControlError> {
    nnc.send(&ChangeStatus {
        state,
        application,
        dynamic_batch: batch,
        batch_count: 0,
    })
}

/// Resets the neural core: the firmware forgets all applications.
pub(super) fn reset_core(nnc: &Nnc) -> Result<(), ControlError> {
    nnc.send(&Reset {
        kind: ResetKind::NeuralCore,
    })
}

/// Has the core run `count` batches from rings that are filled.
pub(super) fn start_alone(
    nnc: &Nnc,
    application: u8,
    batch: u16,
    count: u16,
    channels: Vec<TableChannel>,
) -> Result<(), ControlError> {
    let request = ChangeHwInfer {
        state: HwInferState::Start,
        application,
        batch,
        batch_count: count,
        channels,
        mode: BoundaryMode::Descriptors,
    };
    nnc.send(&request).map(drop)
}

/// Ends that, and reads what it took.
pub(super) fn stop_alone(nnc: &Nnc) -> Result<HwInferResult, ControlError> {
    let request = ChangeHwInfer {
        state: HwInferState::Stop,
        application: 0,
        batch: 1,
        batch_count: 1,
        channels: Vec::new(),
        mode: BoundaryMode::Descriptors,
    };
    Ok(nnc.send(&request)?.result)
}

/// Reads the action list of a context back, with time stamps.
pub(super) fn download(
    nnc: &Nnc,
    application: u8,
    kind: ContextKind,
    index: u16,
) -> Result<Vec<u8>, ControlError> {
    let mut list = Vec::new();
    loop {
        let offset = u16::try_from(list.len()).unwrap_or(u16::MAX);
        let part = nnc.send(&DownloadActions {
            application: application.into(),
            context: kind.number(),
            index,
            offset,
        })?;
        // A list that never ends is none.
        let ends = part.end || part.data.is_empty() || offset == u16::MAX;
        list.extend(part.data);
        if ends {
            return Ok(list);
        }
    }
}

/// The entries of the caches have moved.
pub(super) fn cache_updated(nnc: &Nnc) -> Result<(), ControlError> {
    nnc.send(&SignalCacheUpdated {})
}

impl Firmware {
    /// Index of a network in the firmware.
    pub(super) fn index(&self, net: &Arc<Net>) -> Result<u8, InferError> {
        let place = self.order.iter().position(|other| Arc::ptr_eq(other, net));
        let index = place.and_then(|place| u8::try_from(place).ok());
        index.ok_or_else(|| InferError::Inconsistent(format!("{} is not configured", net.name)))
    }

    /// Prepares it for the first network: whoever had the device before may have died.
    pub(super) fn prepare(&mut self, nnc: &Nnc) -> Result<HwConstants, InferError> {
        if !self.clean {
            reset(nnc)?;
            nnc.send(&ClearApplications {})?;
            self.clean = true;
        }
        match self.constants {
            Some(constants) => Ok(constants),
            None => {
                let reply = nnc.send(&GetHwConstants {})?;
                Ok(*self.constants.insert(reply.constants))
            }
        }
    }

    /// Adds a network behind the others and returns its index. No application may be active.
    pub(super) fn add(&mut self, nnc: &Nnc, net: &Arc<Net>) -> Result<u8, InferError> {
        let index = u8::try_from(self.order.len()).map_err(|_| InferError::TooMany)?;
        upload(nnc, net)?;
        self.order.push(net.clone());
        Ok(index)
    }

    /// Has it forget all networks and adds those of `order` again, up to the first that can't be added.
    pub(super) fn rebuild(&mut self, nnc: &Nnc, order: &[Arc<Net>]) -> Result<(), InferError> {
        self.order.clear();
        let forgotten = reset(nnc).and_then(|()| nnc.send(&ClearApplications {}));
        if let Err(error) = forgotten {
            self.clean = false;
            return Err(error.into());
        }
        for net in order {
            self.add(nnc, net)?;
        }
        Ok(())
    }
}

fn upload(nnc: &Nnc, net: &Net) -> Result<(), InferError> {
    let log = nnc.log(Cpu::Core);
    let mark = log.mark()?;
    let log = &log;
    let refused = |part: String| {
        move |error: ControlError| {
            let network = net.name.to_string();
            if error.is_memory_full() {
                let chunks = net.upload.contexts.iter().flatten();
                let bytes = chunks.map(|chunk| chunk.data.len()).sum();
                return InferError::OutOfMemory { network, bytes };
            }
            if error.refusal().is_none() {
                return error.into();
            }
            match log.last_line(mark) {
                Ok(log) => InferError::Refused {
                    network,
                    part,
                    log,
                    source: error,
                },
                Err(lost) => lost.into(),
            }
        }
    };
    let header = SetNetworkGroupHeader {
        header: net.upload.header,
    };
    nnc.send(&header)
        .map_err(refused("the header".to_owned()))?;
    for (chunks, context) in net.upload.contexts.iter().zip(&net.plan.contexts) {
        for chunk in chunks {
            let sent = nnc.send(&SetContextInfo {
                first: chunk.first,
                last: chunk.last,
                context: chunk.kind.number(),
                data: chunk.data.clone(),
            });
            let count = context.units.len();
            sent.map_err(refused(format!("{} ({count} actions)", context.name())))?;
        }
    }
    Ok(())
}
