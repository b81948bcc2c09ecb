//! What the core does by itself.

use super::super::code::{other, switch};
use super::super::layers::Role;
use super::{Checked, Checker};
use crate::spec::nnc::context::{Action, Direction, WriteKind};

/// Clusters by the width of their field.
const CLUSTERS: u8 = 8;
/// Modules of the core that can be waited for. Source: any number will do; the field has 8 bits.
const MODULES: u8 = 32;
/// Shortest sleep in microseconds. Source: the limit of the vendor's host.
const SHORTEST_SLEEP: u32 = 1000;

impl Checker<'_, '_> {
    /// All that the core does by itself.
    pub(super) fn core(&mut self, action: &Action) -> Checked {
        match *action {
            Action::FetchConfigDescriptors { channel, .. } => {
                self.channel(channel.raw(), Direction::HOST_TO_DEVICE)?
            }
            Action::TriggerSequencer { cluster, .. } | Action::WaitSequencer { cluster } => {
                need!(
                    self,
                    cluster < CLUSTERS,
                    switch::CLUSTER,
                    "cluster {cluster}"
                );
            }
            Action::EnableLcuDefault { lcu, network } => {
                self.lcu(lcu)?;
                self.network(network)?;
            }
            Action::EnableLcu { lcu, network, .. }
            | Action::SwitchLcuBatch { lcu, network, .. } => {
                self.lcu(lcu)?;
                self.network(network)?;
            }
            Action::DisableLcu { lcu } | Action::WaitLcu { lcu } => self.lcu(lcu)?,
            Action::ChangeMapping {
                channel,
                stream,
                dummy,
            } => {
                self.on_engine(channel.raw())?;
                let opened = self.scope.opened(channel.raw());
                need!(
                    self,
                    opened.is_some(),
                    switch::NOT_SET_UP,
                    "the activation context does not open channel {channel}"
                );
                let null = self.scope.null_stream;
                let fits = if dummy == 0 {
                    stream < null
                } else {
                    dummy == 1 && stream == null
                };
                need!(
                    self,
                    fits,
                    switch::NO_DUMMY,
                    "stream {stream} with dummy {dummy}, the stream for none is {null}"
                );
                let own = opened
                    .and_then(|opened| opened.input)
                    .map_or(stream, |input| input.0);
                need!(
                    self,
                    dummy != 0 || own == stream,
                    other::STREAM,
                    "channel {channel} was opened for stream {own}, found {stream}"
                );
                match dummy {
                    0 => self.seen.connected.insert(channel.raw()),
                    _ => self.seen.parted.insert(channel.raw()),
                }
            }
            Action::WaitNms { pred_cluster, .. } => need!(
                self,
                pred_cluster < CLUSTERS,
                switch::CLUSTER,
                "cluster {pred_cluster}"
            ),
            Action::WaitApplicationChange => self.seen.serves = true,
            Action::WaitModuleConfig { module } => {
                need!(self, module < MODULES, switch::MODULE, "module {module}")
            }
            Action::StartBurstCredits => self.seen.credits = true,
            Action::ResetBurstCredits => self.seen.credits = false,
            Action::EnableNms {
                network,
                classes,
                burst,
                ..
            } => {
                self.network(network)?;
                need!(self, classes > 0, other::NMS_CLASSES, "no classes");
                need!(self, burst > 0, other::NMS_BURST, "burst of 0");
            }
            Action::WriteData {
                address,
                kind,
                network,
                ..
            } => {
                self.network(network)?;
                need!(
                    self,
                    address.is_multiple_of(4),
                    switch::WRITE_ADDRESS,
                    "register {address:#x}, expected a multiple of 4"
                );
                need!(
                    self,
                    [WriteKind::DATA, WriteKind::BATCH_SIZE].contains(&kind),
                    switch::WRITE_KIND,
                    "a write of kind {kind}"
                );
            }
            Action::WaitCacheUpdated => {
                let caches = self
                    .scope
                    .before
                    .iter()
                    .flat_map(|context| &context.program.layers)
                    .chain(&self.program.layers);
                let has_caches = caches
                    .into_iter()
                    .any(|layer| matches!(layer.role, Role::CacheInput | Role::CacheOutput));
                need!(
                    self,
                    has_caches && self.scope.last_dynamic(),
                    switch::CACHE,
                    "no caches, or not the last context"
                );
            }
            Action::Sleep { microseconds } => need!(
                self,
                microseconds >= SHORTEST_SLEEP,
                switch::SLEEP,
                "{microseconds} microseconds, expected at least {SHORTEST_SLEEP}"
            ),
            _ => {}
        }
        Ok(())
    }
}
