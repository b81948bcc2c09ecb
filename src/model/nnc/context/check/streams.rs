//! Streams that are set up: what they fetch, when they are waited for, paused and closed.

use super::super::code::{other, switch};
use super::super::layers::{Layer, Role};
use super::{Checked, Checker, Foreign, Opened, Problem};
use crate::spec::nnc::context::{
    Action, BufferType, ChannelId, ContextKind, CreditType, Direction, Step,
};

impl Checker<'_, '_> {
    fn descriptors(&self, found: BufferType) -> Checked {
        need!(
            self,
            found == BufferType::DESCRIPTORS,
            other::STREAM_BUFFER,
            "buffer of type {found}"
        );
        Ok(())
    }

    /// What is bound to `channel`, which is said to carry `stream`.
    fn carrier(&self, channel: ChannelId, stream: u8) -> Result<Option<Layer>, Problem> {
        let Some(layer) = self.active[usize::from(channel.raw())] else {
            self.object(
                switch::NOT_SET_UP,
                format!("channel {channel} is not set up"),
            )?;
            return Ok(None);
        };
        need!(
            self,
            layer.stream == stream,
            other::STREAM,
            "channel {channel} carries stream {}, found {stream}",
            layer.stream
        );
        Ok(Some(layer))
    }

    /// 2.
    pub(super) fn grant(&mut self, action: &Action) -> Checked {
        let Action::FetchData {
            channel,
            stream,
            network,
            frame_size,
            credit_type,
            buffer_type,
        } = *action
        else {
            return Ok(());
        };
        self.channel(channel.raw(), Direction::HOST_TO_DEVICE)?;
        self.network(network)?;
        self.descriptors(buffer_type)?;
        let Some(layer) = self.carrier(channel, stream)? else {
            return Ok(());
        };
        let (kind, size) = match layer.role {
            Role::BoundaryInput => {
                if let Some(&Opened {
                    input: Some((_, expected, _)),
                    ..
                }) = self.scope.opened(channel.raw())
                {
                    need!(
                        self,
                        network == expected,
                        switch::NETWORK,
                        "network {network}, the channel was opened for {expected}"
                    );
                }
                let registers = layer.registers;
                (
                    CreditType::BYTES,
                    u64::from(registers.periph_bytes) * u64::from(registers.periph_buffers),
                )
            }
            Role::InterContextInput => (
                CreditType::DESCRIPTORS,
                layer.descriptors_per_transfer().into(),
            ),
            Role::CacheInput => (
                CreditType::DESCRIPTORS,
                u64::from(layer.buffer.descriptors) - 1,
            ),
            _ => {
                return self.object(
                    switch::NOT_SET_UP,
                    format!("channel {channel} is no input that fetches data"),
                );
            }
        };
        need!(
            self,
            credit_type == kind,
            other::CREDIT_TYPE,
            "credits in {credit_type}, expected {kind}"
        );
        need!(
            self,
            u64::from(frame_size) == size,
            switch::CREDIT_SIZE,
            "frames of {frame_size} {credit_type}, expected {size}"
        );
        if layer.role == Role::InterContextInput {
            let batch = u64::from(self.scope.header.batch);
            need!(
                self,
                size * batch < layer.buffer.descriptors.into(),
                other::TOO_FEW,
                "{batch} frames of {size} descriptors in a list of {}",
                layer.buffer.descriptors
            );
        }
        let again = self
            .program
            .grants
            .iter()
            .any(|granted| granted.0 == channel.raw());
        need!(
            self,
            !again,
            switch::SET_TWICE,
            "channel {channel} fetches data twice"
        );
        self.program.grants.push((channel.raw(), network));
        Ok(())
    }

    /// 12, 28, 37, 38, 39.
    pub(super) fn close(&mut self, step: &Step) -> Checked {
        let (channel, direction) = match step.action {
            Action::DeactivateChannel {
                channel,
                direction,
                check_host_empty,
                buffer_type,
                ..
            }
            | Action::ValidateChannel {
                channel,
                direction,
                check_host_empty,
                buffer_type,
                ..
            } => {
                self.descriptors(buffer_type)?;
                let role = self
                    .active
                    .get(usize::from(channel.raw()))
                    .copied()
                    .flatten()
                    .map(|layer| layer.role);
                let checked = matches!(
                    role,
                    Some(Role::InterContextInput | Role::InterContextOutput)
                ) && self.scope.kind != ContextKind::BatchSwitching;
                need!(
                    self,
                    check_host_empty <= 1 && (check_host_empty == 0 || checked || role.is_none()),
                    switch::STATE,
                    "check of the host's list {check_host_empty}, expected {}",
                    u8::from(checked)
                );
                (channel, direction)
            }
            Action::PauseChannel { channel, direction }
            | Action::ResumeChannel { channel, direction } => (channel, direction),
            Action::ChangeBoundaryInputBatch { channel } => (channel, Direction::HOST_TO_DEVICE),
            _ => return Ok(()),
        };
        let known = [Direction::HOST_TO_DEVICE, Direction::DEVICE_TO_HOST].contains(&direction);
        need!(self, known, switch::DIRECTION, "direction {direction}");
        self.channel(channel.raw(), direction)?;
        let place = usize::from(channel.raw());
        let opened = self.scope.opened(channel.raw()).is_some();
        let here = self.active[place].is_some();
        // What dynamic context 0 sets up is known when it has arrived.
        let later = !here
            && self.scope.kind == ContextKind::BatchSwitching
            && !matches!(step.action, Action::ChangeBoundaryInputBatch { .. });
        let closes = matches!(step.action, Action::DeactivateChannel { .. });
        need!(
            self,
            !(closes && opened),
            switch::STATE,
            "boundary channel {channel} is closed"
        );
        if later {
            let mut before = self.program.foreign.iter();
            let twice =
                before.any(|before| before.closes && closes && before.channel == channel.raw());
            need!(
                self,
                !twice,
                switch::NOT_SET_UP,
                "channel {channel} is closed twice"
            );
            self.program.foreign.push(Foreign {
                action: step.index,
                channel: channel.raw(),
                closes,
            });
            return Ok(());
        }
        let seen = &mut self.seen;
        match step.action {
            Action::ChangeBoundaryInputBatch { .. } => {
                let twice = seen.changed.contains(channel.raw());
                seen.changed.insert(channel.raw());
                need!(
                    self,
                    opened,
                    switch::NOT_SET_UP,
                    "the activation context does not open channel {channel}"
                );
                need!(
                    self,
                    !twice,
                    switch::SET_TWICE,
                    "the batch of channel {channel} is changed twice"
                );
                return Ok(());
            }
            Action::DeactivateChannel { .. } => self.active[place] = None,
            Action::PauseChannel { .. } => seen.paused.insert(channel.raw()),
            Action::ResumeChannel { .. } => {
                seen.resumed.insert(channel.raw());
                seen.paused.remove(channel.raw());
            }
            _ => {}
        }
        need!(
            self,
            here,
            switch::NOT_SET_UP,
            "channel {channel} is not set up"
        );
        Ok(())
    }

    /// 18, 19, 25.
    pub(super) fn wait(&self, action: &Action) -> Checked {
        let (channel, stream, network, between, buffer_type) = match *action {
            Action::WaitInputTransfer {
                channel,
                stream,
                network,
                is_inter_context,
                buffer_type,
            }
            | Action::WaitOutputTransfer {
                channel,
                stream,
                network,
                is_inter_context,
                buffer_type,
            } => (channel, stream, network, is_inter_context, buffer_type),
            Action::WaitDmaIdle {
                channel,
                stream,
                is_inter_context,
                buffer_type,
            } => (channel, stream, 0, is_inter_context, buffer_type),
            _ => return Ok(()),
        };
        let input = matches!(action, Action::WaitInputTransfer { .. });
        self.channel(
            channel.raw(),
            if input {
                Direction::HOST_TO_DEVICE
            } else {
                Direction::DEVICE_TO_HOST
            },
        )?;
        self.network(network)?;
        self.descriptors(buffer_type)?;
        let Some(layer) = self.carrier(channel, stream)? else {
            return Ok(());
        };
        let output = !layer.role.is_input()
            && !layer.role.is_ddr()
            && !matches!(action, Action::WaitDmaIdle { .. });
        need!(
            self,
            !output || layer.network == network,
            switch::NETWORK,
            "network {network}, the output was set up for {}",
            layer.network
        );
        let expected = matches!(
            layer.role,
            Role::InterContextInput | Role::InterContextOutput
        );
        need!(
            self,
            between == u8::from(expected),
            switch::STATE,
            "is inter-context {between}, expected {}",
            u8::from(expected)
        );
        Ok(())
    }
}
