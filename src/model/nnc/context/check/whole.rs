//! What only the whole application shows: contexts that belong together fit each other.

use super::super::apps::Context;
use super::super::code::{other, switch};
use super::super::layers::{Layer, Role};
use super::{Checked, Program, object};
use crate::model::nnc::access::Access;
use crate::spec::nnc::context::{Action, ApplicationHeader};
use crate::spec::nnc::status::Status;

/// Checks an application whose last context has arrived.
pub(in crate::model::nnc::context) fn complete(
    chip: &Access<'_>,
    header: &ApplicationHeader,
    contexts: &[Context],
) -> Checked {
    let [activation, switching, preliminary, dynamic @ ..] = contexts else {
        return Ok(());
    };
    // Who sets dynamic context 0 up in every round but the first.
    let split = header.split_allow_input != 0;
    let source = if split {
        dynamic.last()
    } else {
        dynamic.first()
    };
    let Some(source) = source.map(|context| &context.program) else {
        return Ok(());
    };
    let whole = Whole { chip };
    if header.run_asap != 0 {
        whole.begins_alike(&preliminary.program, source)?;
    }
    whole.switches_batches(&switching.program, source)?;
    whole.switches_lcus(&switching.program, &preliminary.program)?;
    whole.is_used(&activation.program, &contexts[2..])
}

struct Whole<'a, 'b> {
    chip: &'a Access<'b>,
}

impl Whole<'_, '_> {
    /// A mistake that a lenient chip lets pass.
    fn need(&self, holds: bool, code: Status, text: impl FnOnce() -> String) -> Checked {
        if holds {
            return Ok(());
        }
        object(self.chip, code, text())
    }

    /// The preliminary context sets up what the rounds behind the first do.
    fn begins_alike(&self, preliminary: &Program, source: &Program) -> Checked {
        let first = &preliminary.layers;
        let later = &source.layers;
        let differs = (first.iter().filter(|layer| !later.contains(layer)))
            .chain(later.iter().filter(|layer| !first.contains(layer)))
            .next();
        self.need(differs.is_none(), switch::NOT_SET_UP, || {
            format!(
                "preliminary context: channel {} of dynamic context 0 is not set up as in later rounds",
                differs.map_or(0, |layer| layer.channel)
            )
        })
    }

    /// The batch switching context closes and opens what frames of a batch lie in: rings and outputs to other contexts of
    /// dynamic context 0. Caches stay as they are.
    fn switches_batches(&self, switching: &Program, source: &Program) -> Checked {
        let moves = |layer: &Layer| layer.role.is_ddr() || layer.role == Role::InterContextOutput;
        for foreign in &switching.foreign {
            let channel = foreign.channel;
            let place = format!("batch switching context, action {}", foreign.action);
            let of_channel = source.layers.iter().find(|layer| layer.channel == channel);
            self.need(of_channel.is_some(), switch::NOT_SET_UP, || {
                format!("{place}: channel {channel} is not set up by dynamic context 0")
            })?;
            let stays = of_channel.is_some_and(|layer| foreign.closes && !moves(layer));
            self.need(!stays, switch::STATE, || {
                format!(
                    "{place}: channel {channel} of dynamic context 0 does not change with the batch"
                )
            })?;
        }
        let place = "batch switching context";
        for layer in source.layers.iter().filter(|layer| moves(layer)) {
            let channel = layer.channel;
            let mut closed = switching.foreign.iter();
            let closed = closed.any(|foreign| foreign.closes && foreign.channel == channel);
            self.need(closed, other::NOT_STOPPED, || {
                format!("{place}: channel {channel} of dynamic context 0 is not closed")
            })?;
            self.need(switching.layers.contains(layer), switch::NOT_SET_UP, || {
                format!(
                    "{place}: channel {channel} of dynamic context 0 is not set up again as it was"
                )
            })?;
        }
        let strange = switching
            .layers
            .iter()
            .find(|layer| !(moves(layer) && source.layers.contains(layer)));
        self.need(strange.is_none(), switch::NOT_SET_UP, || {
            let channel = strange.map_or(0, |layer| layer.channel);
            format!("{place}: channel {channel} is set up, and dynamic context 0 does not need it")
        })?;
        let same = switching.pairs.len() == source.pairs.len()
            && (source.pairs.iter()).all(|pair| switching.pairs.contains(pair));
        self.need(same, other::DDR_PAIRS, || {
            format!("{place}: its rings are not those of dynamic context 0")
        })
    }

    /// The layer controllers that the preliminary context enables are told of a new batch, in the same order.
    fn switches_lcus(&self, switching: &Program, preliminary: &Program) -> Checked {
        let told = switching.steps.iter().filter_map(|step| match step.action {
            Action::SwitchLcuBatch { .. } => step.action.layer_controller(),
            _ => None,
        });
        let enabled = (preliminary.steps.iter()).filter_map(|step| step.action.layer_controller());
        self.need(told.eq(enabled), switch::LCU, || {
            "batch switching context: its layer controllers are not those of the preliminary context"
                .to_owned()
        })
    }

    /// Every stream of the user has a context, and everything that is written for other contexts a reader.
    fn is_used(&self, activation: &Program, contexts: &[Context]) -> Checked {
        let layers = || contexts.iter().flat_map(|context| &context.program.layers);
        for opened in &activation.opened {
            let channel = opened.channel;
            let used = layers().any(|layer| layer.channel == channel);
            self.need(used, switch::NOT_SET_UP, || {
                format!(
                    "activation context: channel {channel} is opened, and no context sets it up"
                )
            })?;
        }
        for writer in layers().filter(|layer| layer.role == Role::InterContextOutput) {
            let read = layers().any(|layer| {
                layer.role == Role::InterContextInput
                    && layer.buffer.address == writer.buffer.address
            });
            self.need(read, switch::LIST, || {
                format!(
                    "no context reads the list at {:#x}, which channel {} writes",
                    writer.buffer.address, writer.channel
                )
            })?;
        }
        Ok(())
    }
}
