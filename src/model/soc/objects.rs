//! Who holds what: virtual devices, models, device objects. Handles are numbers of their kind, never used twice while
//! the server lives; those of another client are unknown.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::configured::Configured;
use super::connection::{Connection, Reply, Request, Step};
use super::dispatch::{handle_reply, id};
use super::lock;
use super::network::Model;
use crate::spec::rpc::Status;
use crate::spec::rpc::types::{ConfigureReply, ConfigureRequest, CreateInferModelRequest};
use crate::spec::rpc::types::{CreateVdeviceRequest, Handle};
use crate::spec::rpc::value::{MAX_PRIORITY, UNIQUE_GROUP, scheduling};

/// How long a client that wants the device for itself waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Inferences that may be in flight in a configured model. Source: any number from 1 on will do.
pub(super) const QUEUE: u32 = 4;

/// A virtual device.
#[derive(Debug)]
struct Vdevice {
    owner: u32,
    group: String,
    scheduled: bool,
}

/// Everything that has a handle.
#[derive(Default)]
pub(super) struct Objects {
    next_vdevice: u32,
    next_model: u32,
    next_configured: u32,
    next_device: u32,
    vdevices: BTreeMap<u32, Vdevice>,
    models: BTreeMap<u32, Arc<Model>>,
    configured: BTreeMap<u32, Arc<Configured>>,
    /// Owners of device objects.
    devices: BTreeMap<u32, u32>,
    /// Outputs are given as the NN core makes them. One switch for all clients: that is how the server is.
    raw_outputs: bool,
    /// The model without scheduler that runs.
    pub(super) active: Option<u32>,
}

fn take(next: &mut u32) -> u32 {
    let number = *next;
    *next += 1;
    number
}

impl Objects {
    /// Releases what a client held.
    pub(super) fn release(&mut self, owner: u32) {
        self.configured
            .retain(|_, configured| configured.owner != owner);
        self.models.retain(|_, model| model.owner != owner);
        self.vdevices.retain(|_, vdevice| vdevice.owner != owner);
        self.devices.retain(|_, of| *of != owner);
        if let Some(active) = self.active
            && !self.configured.contains_key(&active)
        {
            self.active = None;
        }
    }

    pub(super) fn add_device(&mut self, owner: u32) -> u32 {
        let number = take(&mut self.next_device);
        self.devices.insert(number, owner);
        number
    }

    pub(super) fn remove_device(&mut self, handle: u32) {
        self.devices.remove(&handle);
    }

    pub(super) fn owns_device(&self, owner: u32, handle: u32) -> bool {
        self.devices.get(&handle) == Some(&owner)
    }

    /// Whether a client may open the device now.
    fn may_open(&self, group: &str) -> bool {
        let same = |vdevice: &Vdevice| group != UNIQUE_GROUP && vdevice.group == group;
        self.vdevices.values().all(same)
    }

    /// Bytes of the models, which live in the chip's memory.
    pub(super) fn model_bytes(&self) -> u64 {
        self.models.values().map(|model| model.bytes).sum()
    }
}

impl Connection {
    pub(super) fn create_vdevice(&self, request: &Request) -> Step<Reply> {
        let body: CreateVdeviceRequest = request.body()?;
        let params = body.params.unwrap_or_default();
        let group = params.group_id;
        let mut objects = lock(&self.server.objects);
        objects.raw_outputs = body.without_post_processing;
        let deadline = Instant::now() + PATIENCE;
        while !objects.may_open(&group) {
            let left = deadline.saturating_duration_since(Instant::now());
            // What this very client holds nobody gives back meanwhile.
            let own = objects
                .vdevices
                .values()
                .any(|vdevice| vdevice.owner == self.id);
            if group != UNIQUE_GROUP || own || left.is_zero() {
                return Err(Status::DEVICE_IN_USE.into());
            }
            let woken = self.server.freed.wait_timeout(objects, left);
            objects = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let number = take(&mut objects.next_vdevice);
        let vdevice = Vdevice {
            owner: self.id,
            group,
            scheduled: params.scheduling_algorithm != scheduling::NONE,
        };
        objects.vdevices.insert(number, vdevice);
        Ok(handle_reply(number))
    }

    pub(super) fn destroy_vdevice(&self, handle: u32) -> Reply {
        let mut objects = lock(&self.server.objects);
        let owned = |vdevice: &Vdevice| vdevice.owner == self.id;
        if objects.vdevices.get(&handle).is_some_and(owned) {
            objects.vdevices.remove(&handle);
            objects.models.retain(|_, model| model.vdevice != handle);
            let orphans = objects.configured.values();
            let orphans = orphans.filter(|configured| configured.model.vdevice == handle);
            let orphans: Vec<Arc<Configured>> = orphans.cloned().collect();
            drop(objects);
            for configured in orphans {
                // Nothing waits for the outcome: what hangs is released with the client.
                if self.shut_down(&configured).is_err() {
                    log::debug!("sim: a model of virtual device {handle} does not end");
                }
                self.forget(&configured);
            }
            self.server.freed.notify_all();
        }
        Reply::empty()
    }

    pub(super) fn create_infer_model(&self, request: &mut Request) -> Step<Reply> {
        let body: CreateInferModelRequest = request.body_before_buffers()?;
        let hef = request.inputs.pop().unwrap_or_default();
        let vdevice = id(body.vdevice);
        let raw = {
            let objects = lock(&self.server.objects);
            let owned = |vdevice: &&Vdevice| vdevice.owner == self.id;
            objects
                .vdevices
                .get(&vdevice)
                .filter(owned)
                .ok_or(Status::NOT_FOUND)?;
            objects.raw_outputs
        };
        let settings = &self.server.settings;
        let model = Model::new(hef, &body.name, raw, settings).map_err(|(status, why)| {
            self.server
                .say(format_args!("model refused: {why} ({status})"));
            status
        })?;
        self.take_time(Duration::from_millis(50));
        let mut objects = lock(&self.server.objects);
        let number = take(&mut objects.next_model);
        let model = Model {
            owner: self.id,
            vdevice,
            handle: number,
            ..model
        };
        self.server
            .say(format_args!("model {number}: {}", model.name));
        objects.models.insert(number, Arc::new(model));
        Ok(handle_reply(number))
    }

    pub(super) fn destroy_infer_model(&self, handle: u32) -> Reply {
        let mut objects = lock(&self.server.objects);
        if objects
            .models
            .get(&handle)
            .is_some_and(|model| model.owner == self.id)
        {
            objects.models.remove(&handle);
        }
        Reply::empty()
    }

    pub(super) fn model(&self, handle: u32) -> Step<Arc<Model>> {
        let objects = lock(&self.server.objects);
        let found = objects
            .models
            .get(&handle)
            .filter(|model| model.owner == self.id);
        Ok(found.cloned().ok_or(Status::NOT_FOUND)?)
    }

    pub(super) fn configure(&self, request: &Request) -> Step<Reply> {
        let body: ConfigureRequest = request.body()?;
        let model = self.model(id(body.infer_model))?;
        let scheduled = {
            let objects = lock(&self.server.objects);
            let vdevice = objects.vdevices.get(&id(body.vdevice));
            let owned = vdevice.filter(|vdevice| vdevice.owner == self.id);
            owned.ok_or(Status::NOT_FOUND)?.scheduled
        };
        self.take_time(Duration::from_millis(20));
        let mut objects = lock(&self.server.objects);
        let configured = Configured::new(model, &body, scheduled, objects.next_configured)?;
        let number = take(&mut objects.next_configured);
        objects.configured.insert(number, Arc::new(configured));
        Ok(Reply::of(&ConfigureReply {
            handle: Some(Handle { id: number }),
            async_queue_size: QUEUE,
        }))
    }

    pub(super) fn configured(&self, handle: u32) -> Step<Arc<Configured>> {
        let objects = lock(&self.server.objects);
        let found = objects.configured.get(&handle);
        let owned = found.filter(|configured| configured.owner == self.id);
        Ok(owned.cloned().ok_or(Status::NOT_FOUND)?)
    }

    /// A configured model of a virtual device with the scheduler.
    pub(super) fn scheduled(&self, handle: u32) -> Step<Arc<Configured>> {
        let configured = self.configured(handle)?;
        if configured.scheduled {
            Ok(configured)
        } else {
            Err(Status::INVALID_OPERATION.into())
        }
    }

    pub(super) fn activate(&self, handle: u32) -> Step<Reply> {
        let configured = self.configured(handle)?;
        let mut objects = lock(&self.server.objects);
        if configured.scheduled || objects.active.is_some_and(|active| active != handle) {
            return Err(Status::INVALID_OPERATION.into());
        }
        objects.active = Some(handle);
        configured.set_active(true);
        Ok(Reply::empty())
    }

    pub(super) fn deactivate(&self, handle: u32) -> Step<Reply> {
        self.configured(handle)?.set_active(false);
        let mut objects = lock(&self.server.objects);
        if objects.active == Some(handle) {
            objects.active = None;
        }
        Ok(Reply::empty())
    }

    pub(super) fn destroy_configured(&self, handle: u32) -> Step<Reply> {
        if let Ok(configured) = self.configured(handle) {
            self.shut_down(&configured)?;
            self.forget(&configured);
        }
        Ok(Reply::empty())
    }

    fn forget(&self, configured: &Configured) {
        let mut objects = lock(&self.server.objects);
        objects.configured.remove(&configured.handle);
        if objects.active == Some(configured.handle) {
            objects.active = None;
        }
    }
}

impl Configured {
    pub(super) fn set_priority(&self, priority: u32) -> Step<()> {
        let priority = priority & 0xff; // The others are not looked at.
        if priority > MAX_PRIORITY {
            return Err(Status::INVALID_ARGUMENT.into());
        }
        lock(&self.state).priority = priority;
        Ok(())
    }
}
