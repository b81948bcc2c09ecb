//! What must hold when a list is at its end: nothing is left out, and nothing is left behind.

use super::super::code::{other, switch};
use super::super::layers::{Layer, Role};
use super::{Checked, Checker};
use crate::spec::nnc::context::{Action, ContextKind, Step};
use crate::spec::nnc::state::LogLevel;

impl Checker<'_, '_> {
    /// What the whole list must be.
    pub(super) fn end(&mut self) -> Checked {
        for (channel, open) in (0u8..).zip(self.config) {
            need!(
                self,
                open.is_none(),
                switch::STATE,
                "config channel {channel} stays open"
            );
        }
        self.rings_are_whole()?;
        match self.scope.kind {
            ContextKind::Activation => {}
            ContextKind::BatchSwitching => self.batches_change()?,
            ContextKind::Preliminary if !self.scope.sets_up() => {}
            ContextKind::Preliminary => self.streams_are_whole()?,
            ContextKind::Dynamic => {
                self.waits_where_it_must()?;
                self.streams_are_whole()?;
                self.nothing_is_left()?;
                self.make_flows();
            }
        }
        let boundary = |granted: &&(u8, u8)| self.scope.opened(granted.0).is_some();
        let waits = self.program.grants.iter().any(|granted| boundary(&granted));
        need!(
            self,
            self.seen.credits || !waits && self.seen.changed.is_empty(),
            other::NO_CREDITS,
            "boundary inputs fetch data, but burst credits are not started"
        );
        Ok(())
    }

    fn rings_are_whole(&self) -> Checked {
        let pairs = &self.program.pairs;
        let ends = self.program.layers.iter();
        for end in ends.filter(|layer| layer.role.is_ddr()) {
            let named = pairs
                .iter()
                .any(|pair| [pair.input, pair.output].contains(&end.channel));
            need!(
                self,
                named,
                other::DDR_PAIRS,
                "channel {} is the end of a ring that is not added",
                end.channel
            );
        }
        need!(
            self,
            pairs.is_empty() || self.seen.rings_started,
            other::DDR_STATE,
            "rings are added, but ddr buffering is not started"
        );
        Ok(())
    }

    /// The batch switching context tells every input of the user.
    fn batches_change(&self) -> Checked {
        let activation = self.scope.before.first();
        let opened = activation.map_or(&[][..], |context| &context.program.opened);
        for input in opened.iter().filter(|opened| opened.input.is_some()) {
            need!(
                self,
                self.seen.changed.contains(input.channel),
                other::NO_CREDITS,
                "the batch of channel {} is not changed",
                input.channel
            );
        }
        Ok(())
    }

    /// A single context ends by waiting for another application, and no other does.
    fn waits_where_it_must(&self) -> Checked {
        let loops = matches!(
            self.program.steps.last(),
            Some(Step {
                action: Action::WaitApplicationChange,
                ..
            })
        );
        need!(
            self,
            loops == self.scope.is_single(),
            switch::DYNAMIC_COUNT,
            "ends {} `wait for application change`, the application has {} dynamic contexts",
            if loops { "with" } else { "without" },
            self.scope.header.dynamic_contexts
        );
        Ok(())
    }

    /// A context fetches data; the inputs that it sets up go on; with several contexts every stream of the user is
    /// connected with its channel where it is set up, and with none elsewhere.
    fn streams_are_whole(&self) -> Checked {
        need!(
            self,
            !self.program.grants.is_empty(),
            other::NO_CREDITS,
            "no input fetches data"
        );
        let layers = &self.program.layers;
        let inputs = layers
            .iter()
            .filter(|layer| layer.role == Role::BoundaryInput);
        for input in inputs {
            need!(
                self,
                self.seen.resumed.contains(input.channel),
                switch::STATE,
                "input channel {} is not resumed",
                input.channel
            );
        }
        if self.scope.is_single() {
            return Ok(());
        }
        let activation = self.scope.before.first();
        for opened in activation.map_or(&[][..], |context| &context.program.opened) {
            let channel = opened.channel;
            let here = layers
                .iter()
                .any(|layer| layer.role.is_boundary() && layer.channel == channel);
            let connected = self.seen.connected.contains(channel);
            let parted = self.seen.parted.contains(channel);
            need!(
                self,
                connected == here && parted != here,
                switch::NO_DUMMY,
                "channel {channel} is {} in this context and {}",
                if here { "set up" } else { "not set up" },
                match (connected, parted) {
                    (true, true) => "connected with two streams",
                    (true, false) => "connected with its stream",
                    (false, true) => "connected with the stream for none",
                    (false, false) => "not connected with a stream",
                }
            );
        }
        Ok(())
    }

    /// What the context runs: its own layers, or those that the one before has set up for it.
    fn running(&self) -> &[Layer] {
        if self.scope.splits() && !self.scope.is_single() {
            self.scope
                .inherited()
                .map_or(&[], |inherited| &inherited.layers)
        } else {
            &self.program.layers
        }
    }

    /// Of several contexts each closes what it runs and pauses the inputs of the user. A single one never ends.
    fn nothing_is_left(&self) -> Checked {
        let several = !self.scope.is_single();
        for (channel, layer) in (0u8..).zip(self.active) {
            let next = self.scope.splits() && self.seen.here.contains(channel);
            let left = layer.is_some_and(|layer| !layer.role.is_boundary()) && !next;
            need!(
                self,
                !(several && left),
                other::NOT_STOPPED,
                "channel {channel} stays open"
            );
        }
        for layer in self.running() {
            let channel = layer.channel;
            if layer.role == Role::BoundaryInput {
                need!(
                    self,
                    self.seen.paused.contains(channel) == several,
                    switch::STATE,
                    "input channel {channel} {}",
                    if several {
                        "is not paused"
                    } else {
                        "stays paused"
                    }
                );
            }
            // Which inputs fetch data is written in the compiled file: files are known that leave one out, and the vendor's
            // library uploads them. So it is no mistake of the host.
            let fetches = self
                .program
                .grants
                .iter()
                .any(|granted| granted.0 == channel);
            let input = layer.role.is_input() && !layer.role.is_ddr();
            if input && !fetches {
                let text = format!(
                    "{}: the input on channel {channel} never fetches data",
                    self.at
                );
                self.chip.log(LogLevel::Warning, &text);
            }
        }
        Ok(())
    }
}
