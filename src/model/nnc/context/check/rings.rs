//! DDR rings: their ends, which belong together, and the firmware's part in them.

use super::super::code::{other, switch};
use super::super::layers::{Layer, Pair, Role};
use super::{Checked, Checker, Problem};
use crate::spec::nnc::context::{Action, ContextKind, Direction};

impl Checker<'_, '_> {
    /// 11, 14, 15, 31.
    pub(super) fn rings(&mut self, action: &Action) -> Checked {
        match *action {
            Action::ActivateDdrOutput { buffered_rows, .. } => {
                let Some(layer) = Layer::of(action) else {
                    return Ok(());
                };
                self.set_up(layer)?;
                let needed = buffered_rows.saturating_mul(layer.descriptors_per_transfer());
                need!(
                    self,
                    (1..layer.buffer.descriptors).contains(&needed),
                    other::DDR_DESCRIPTORS,
                    "{buffered_rows} rows take {needed} descriptors, the list has {} and one of them stays free",
                    layer.buffer.descriptors
                );
            }
            Action::AddDdrPair { .. } => self.pair(action)?,
            Action::StartDdrBuffering => {
                need!(
                    self,
                    !self.program.pairs.is_empty(),
                    other::DDR_PAIRS,
                    "no rings"
                );
                need!(
                    self,
                    !self.seen.rings_started,
                    switch::DDR_BUSY,
                    "ddr buffering is started already"
                );
                self.seen.rings_started = true;
            }
            Action::ResetDdrBuffering => self.seen.rings_reset = true,
            _ => {}
        }
        Ok(())
    }

    fn pair(&mut self, action: &Action) -> Checked {
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
        let [input, output] = [input_channel, output_channel].map(|channel| channel.raw());
        self.channel(input, Direction::HOST_TO_DEVICE)?;
        self.channel(output, Direction::DEVICE_TO_HOST)?;
        self.network(network)?;
        need!(
            self,
            self.seen.rings_reset || self.scope.kind != ContextKind::BatchSwitching,
            other::DDR_STATE,
            "the rings that were added before are not forgotten"
        );
        let [reader, writer] = [input, output].map(|channel| self.active[usize::from(channel)]);
        let (Some(reader), Some(writer)) = (reader, writer) else {
            return self.object(
                other::DDR_PAIRS,
                format!("channels {input} and {output} are not set up"),
            );
        };
        let fits = reader.role == Role::DdrInput
            && writer.role == Role::DdrOutput
            && reader.paired == output;
        // A chip can do nothing with two channels that are no ring, lenient or not.
        if !fits {
            return Err(Problem::new(
                other::DDR_PAIRS,
                format!("{}: channels {input} and {output} are no ring", self.at),
            ));
        }
        let known = |pair: &Pair| pair.input == input || pair.output == output;
        need!(
            self,
            !self.program.pairs.iter().any(known),
            switch::SET_TWICE,
            "the ring of channels {input} and {output} is added twice"
        );
        let each = writer.descriptors_per_transfer();
        let frame = each.saturating_mul(writer.registers.core_buffers.into());
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
            input,
            output,
            network,
            descriptors_per_frame: frame,
        });
        self.seen.rings_started = false;
        Ok(())
    }
}
