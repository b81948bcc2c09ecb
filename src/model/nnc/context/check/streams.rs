//! Streams that are set up: what they fetch, when they are waited for, paused and closed.

use super::super::code::{other, switch};
use super::super::layers::{Pair, Role};
use super::{Checked, Checker, Opened};
use crate::spec::nnc::context::{Action, BufferType, ContextKind, CreditType, Direction, Step};

impl Checker<'_, '_> {
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
        need!(
            self,
            buffer_type == BufferType::DESCRIPTORS,
            other::STREAM_BUFFER,
            "buffer of type {buffer_type}"
        );
        let place = usize::from(channel.raw());
        let Some(layer) = self.active[place] else {
            return self.object(
                switch::NOT_SET_UP,
                format!("channel {channel} is not set up"),
            );
        };
        need!(
            self,
            layer.stream == stream,
            other::STREAM,
            "channel {channel} carries stream {}, found {stream}",
            layer.stream
        );
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

    /// 14.
    pub(super) fn pair(&mut self, action: &Action) -> Checked {
        let Action::AddDdrPair {
            input_channel,
            output_channel,
            network,
            descriptors_per_frame,
            programmed_descriptors,
        } = *action
        else {
            return Ok(());
        };
        self.channel(input_channel.raw(), Direction::HOST_TO_DEVICE)?;
        self.channel(output_channel.raw(), Direction::DEVICE_TO_HOST)?;
        self.network(network)?;
        let [reader, writer] =
            [input_channel, output_channel].map(|channel| self.active[usize::from(channel.raw())]);
        let (Some(reader), Some(writer)) = (reader, writer) else {
            return self.object(
                other::DDR_PAIRS,
                format!("channels {input_channel} and {output_channel} are not set up"),
            );
        };
        let fits = reader.role == Role::DdrInput
            && writer.role == Role::DdrOutput
            && reader.paired == output_channel.raw();
        need!(
            self,
            fits,
            other::DDR_PAIRS,
            "channels {input_channel} and {output_channel} are no ring"
        );
        let frame = writer.descriptors_per_transfer() * u32::from(writer.registers.core_buffers);
        need!(
            self,
            descriptors_per_frame == frame,
            other::DDR_DESCRIPTORS,
            "{descriptors_per_frame} descriptors for each frame, expected {frame}"
        );
        let length = writer.buffer.descriptors;
        need!(
            self,
            u32::from(programmed_descriptors) == length,
            other::DDR_DESCRIPTORS,
            "{programmed_descriptors} descriptors programmed, the list has {length}"
        );
        self.program.pairs.push(Pair {
            input: input_channel.raw(),
            output: output_channel.raw(),
            network,
            descriptors_per_frame: frame,
        });
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
                need!(
                    self,
                    buffer_type == BufferType::DESCRIPTORS,
                    other::STREAM_BUFFER,
                    "buffer of type {buffer_type}"
                );
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
        match step.action {
            Action::DeactivateChannel { .. }
                if self.scope.kind == ContextKind::BatchSwitching
                    && self.active[place].is_none() =>
            {
                need!(
                    self,
                    !opened,
                    switch::STATE,
                    "boundary channel {channel} is closed"
                );
                self.program.foreign.push((step.index, channel.raw()));
            }
            Action::DeactivateChannel { .. } => {
                need!(
                    self,
                    !opened,
                    switch::STATE,
                    "boundary channel {channel} is closed"
                );
                let active = self.active[place].take();
                need!(
                    self,
                    active.is_some(),
                    switch::NOT_SET_UP,
                    "channel {channel} is not set up"
                );
            }
            Action::ChangeBoundaryInputBatch { .. } => need!(
                self,
                opened,
                switch::NOT_SET_UP,
                "the activation context does not open channel {channel}"
            ),
            _ => need!(
                self,
                self.active[place].is_some(),
                switch::NOT_SET_UP,
                "channel {channel} is not set up"
            ),
        }
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
        need!(
            self,
            buffer_type == BufferType::DESCRIPTORS,
            other::STREAM_BUFFER,
            "buffer of type {buffer_type}"
        );
        let Some(layer) = self.active[usize::from(channel.raw())] else {
            return self.object(
                switch::NOT_SET_UP,
                format!("channel {channel} is not set up"),
            );
        };
        need!(
            self,
            layer.stream == stream,
            other::STREAM,
            "channel {channel} carries stream {}, found {stream}",
            layer.stream
        );
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
