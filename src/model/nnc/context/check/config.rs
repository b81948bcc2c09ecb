//! Config channels.

use super::super::code::{other, switch};
use super::{Checked, Checker};
use crate::spec::nnc::context::{Action, Direction};

impl Checker<'_, '_> {
    /// 22, 27, 23.
    pub(super) fn config(&mut self, action: &Action) -> Checked {
        let header = self.scope.header;
        let of_stream = |stream: u8| {
            let used = &header.config_channels
                [..usize::from(header.config_channel_count).min(header.config_channels.len())];
            used.get(usize::from(stream)).map(|channel| channel.raw())
        };
        match *action {
            Action::ActivateConfigChannel {
                channel,
                config_stream,
                ref buffer,
            } => {
                self.channel(channel.raw(), Direction::HOST_TO_DEVICE)?;
                self.buffer(buffer, false, false)?;
                let Some(expected) = of_stream(config_stream) else {
                    return self.object(
                        switch::CONFIG_STREAM,
                        format_args!(
                            "config stream {config_stream}, the header has {}",
                            header.config_channel_count
                        ),
                    );
                };
                need!(
                    self,
                    expected == channel.raw(),
                    switch::CONFIG_STREAM,
                    "config stream {config_stream} is on channel {channel}, the header says {expected}"
                );
                need!(
                    self,
                    buffer.page == header.csm_buffer_size,
                    other::CSM_PAGE,
                    "page of {} bytes, the header says {}",
                    buffer.page,
                    header.csm_buffer_size
                );
                need!(
                    self,
                    buffer.pattern.is_multiple_of(buffer.page.into()),
                    other::CSM_BUFFER,
                    "{} bytes, not a multiple of the page of {}",
                    buffer.pattern,
                    buffer.page
                );
                let place = usize::from(channel.raw());
                need!(
                    self,
                    self.config[place].is_none() && self.active[place].is_none(),
                    switch::SET_TWICE,
                    "channel {channel} is in use"
                );
                self.config[place] = Some((config_stream, false));
            }
            Action::FetchCcwBursts {
                bursts,
                config_stream,
            } => {
                let open = self
                    .config
                    .iter_mut()
                    .flatten()
                    .find(|open| open.0 == config_stream);
                let found = open.map(|open| open.1 = true).is_some();
                need!(
                    self,
                    found,
                    other::CSM_STREAM,
                    "config stream {config_stream} is not open"
                );
                need!(self, bursts > 0, other::CSM_BURSTS, "no bursts");
            }
            Action::DeactivateConfigChannel {
                channel,
                config_stream,
            } => {
                self.channel(channel.raw(), Direction::HOST_TO_DEVICE)?;
                let open = self.config[usize::from(channel.raw())].take();
                need!(
                    self,
                    open.is_some_and(|open| open.0 == config_stream),
                    switch::NOT_SET_UP,
                    "channel {channel} is not open for config stream {config_stream}"
                );
                need!(
                    self,
                    open.is_none_or(|open| open.1),
                    other::CSM_BURSTS,
                    "no burst of config stream {config_stream} was fetched"
                );
            }
            _ => {}
        }
        Ok(())
    }
}
