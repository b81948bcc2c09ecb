//! Which inputs and outputs of a context belong together.

use super::super::layers::{Flow, Layer, Pair};
use super::{Checker, Scope};

impl Checker<'_, '_> {
    /// Puts together what runs in a dynamic context.
    pub(super) fn make_flows(&mut self) {
        let inherited = self.scope.inherited();
        // A single context that sets the next one up is that one itself.
        let own = !self.scope.splits() || self.scope.is_single();
        let own = own.then_some(&self.program);
        let mut layers: Vec<Layer> = Vec::new();
        let mut pairs: Vec<Pair> = Vec::new();
        for program in own.into_iter().chain(inherited) {
            for layer in &program.layers {
                if !layers.iter().any(|known| known.channel == layer.channel) {
                    layers.push(*layer);
                }
            }
            for pair in &program.pairs {
                if !pairs.contains(pair) {
                    pairs.push(*pair);
                }
            }
        }
        layers.sort_by_key(|layer| layer.stream);
        let mut grants = self.program.grants.clone();
        if self.scope.first_dynamic() && Scope::flag(self.scope.header.run_asap) {
            let asap = inherited
                .map(|program| program.grants.as_slice())
                .unwrap_or_default();
            grants.extend(
                asap.iter()
                    .filter(|granted| !self.program.grants.contains(granted)),
            );
        }
        for network in 0..self.scope.header.networks {
            let of = |keep: &dyn Fn(&Layer) -> bool| {
                layers
                    .iter()
                    .filter(|layer| keep(layer))
                    .map(|layer| layer.channel)
                    .collect::<Vec<_>>()
            };
            let flow = Flow {
                network,
                inputs: of(&|layer| grants.contains(&(layer.channel, network))),
                outputs: of(&|layer| {
                    !layer.role.is_input() && !layer.role.is_ddr() && layer.network == network
                }),
                pairs: pairs
                    .iter()
                    .filter(|pair| pair.network == network)
                    .copied()
                    .collect(),
            };
            if flow
                != (Flow {
                    network,
                    ..Flow::default()
                })
            {
                self.program.flows.push(flow);
            }
        }
    }
}
