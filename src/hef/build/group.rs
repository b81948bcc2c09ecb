//! Network groups, their names and variants, and the core op in each.

use std::collections::{BTreeMap, BTreeSet};

use super::super::config::{MAX_CONFIG_CHANNELS, collect};
use super::super::layer::Direction;
use super::super::network::{Context, CoreOp, NetworkGroup, Program};
use super::super::schema::types::{self, op};
use super::at::{At, Build};
use super::layers::{MAX_BOUNDARY, MAX_EDGE_LAYERS, MAX_NAME, edge_layer};
use super::links::{ddr_pairs, names_are_unique, peers_exist};
use super::rules::Rules;
use super::{actions, flow, layers, streams};

/// Longest network name, alone or with its group, in bytes.
const MAX_NETWORK_NAME: usize = 256;
/// Most dynamic contexts: the firmware counts to 1024 and three are fixed.
///
/// Source: vendor hailort v5.2.0, `common/include/control_protocol.h`.
const MAX_CONTEXTS: usize = 1021;

/// The fields that groups and core ops have in common; their numbers are the same in both messages.
struct Core<'a> {
    metadata: Option<&'a types::NetworkGroupMetadata>,
    preliminary: Option<&'a types::PreliminaryConfig>,
    contexts: &'a [types::Context],
    fused: Option<&'a types::FusedLayersMetadata>,
    networks: &'a [String],
}

impl<'a> From<&'a types::NetworkGroup> for Core<'a> {
    fn from(group: &'a types::NetworkGroup) -> Self {
        Self {
            metadata: group.network_group_metadata.as_ref(),
            preliminary: group.preliminary_config.as_ref(),
            contexts: &group.contexts,
            fused: group.fused_layers_metadata.as_ref(),
            networks: &group.networks_names,
        }
    }
}

impl<'a> From<&'a types::CoreOp> for Core<'a> {
    fn from(core: &'a types::CoreOp) -> Self {
        Self {
            metadata: core.network_group_metadata.as_ref(),
            preliminary: core.preliminary_config.as_ref(),
            contexts: &core.contexts,
            fused: core.fused_layers_metadata.as_ref(),
            networks: &core.networks_names,
        }
    }
}

impl Core<'_> {
    fn name(&self) -> &str {
        self.metadata
            .map_or("", |metadata| &metadata.network_group_name)
    }

    fn has_fused(&self) -> bool {
        self.fused
            .is_some_and(|fused| fused.network_has_fused_layers)
    }
}

/// Builds all groups of a file.
pub(crate) fn groups(list: &[types::NetworkGroup], rules: &Rules<'_>) -> Build<Vec<NetworkGroup>> {
    let root = At::ROOT;
    if list.is_empty() {
        return Err(root.field(2).bad("network groups", "at least 1", 0));
    }
    let mut names = BTreeSet::new();
    let mut out = Vec::with_capacity(list.len());
    for (i, message) in list.iter().enumerate() {
        let group = group(message, &root.nth(2, i), rules)?;
        if !names.insert(group.name.clone()) {
            return Err(root.nth(2, i).field(1).field(1).bad(
                "group name",
                "a name of its own",
                format!("{:?} again", group.name),
            ));
        }
        out.push(group);
    }
    Ok(out)
}

fn group(message: &types::NetworkGroup, at: &At<'_>, rules: &Rules<'_>) -> Build<NetworkGroup> {
    let first_partial = message
        .partial_network_groups
        .first()
        .and_then(|partial| partial.network_group.as_ref());
    let named = first_partial.unwrap_or(message);
    let name = Core::from(named).name().to_owned();
    let at = at.named("group", &name);
    at.field(1).name("group name", &name, MAX_NAME)?;
    let variants = variants(message, &name, &at, rules)?;
    let Some((core_op, core)) = variants.first() else {
        return Err(at
            .field(7)
            .bad("layouts", "at least 1 in a file of this architecture", 0));
    };
    let networks = networks(message, first_partial, core, &name, &at, rules)?;
    let (output_order, raw_output_order) = output_order(message, first_partial, core, &at, rules)?;
    let post_processing = if rules.net_flow {
        flow::post_processing(message, core_op, &at)?
    } else {
        Vec::new()
    };
    let physical = streams::physical(core_op, &name);
    let virtual_streams =
        streams::virtual_streams(core_op, &name, &post_processing, &output_order, &at)?;
    let metadata = core.metadata.cloned().unwrap_or_default();
    Ok(NetworkGroup {
        networks,
        variants: variants.into_iter().map(|(core_op, _)| core_op).collect(),
        post_processing,
        output_order,
        raw_output_order,
        streams: physical,
        virtual_streams,
        bottleneck_fps: metadata.bottleneck_fps,
        latency: metadata.latency,
        computational_ops: metadata.computational_ops,
        name,
    })
}

/// The variants by rising bitmap, each with the message it came from.
fn variants<'a>(
    message: &'a types::NetworkGroup,
    group: &str,
    at: &At<'_>,
    rules: &Rules<'_>,
) -> Build<Vec<(CoreOp, Core<'a>)>> {
    let multi_layout = rules.architecture.is_multi_layout();
    let bitmap = |layout: Option<&types::PhysicalLayout>| {
        layout.map_or(0, |l| l.partial_clusters_layout_bitmap)
    };
    let mut out: BTreeMap<Option<u32>, (CoreOp, Core<'a>)> = BTreeMap::new();
    let mut add = |core: Core<'a>, layout: Option<u32>, at: &At<'_>| -> Build<()> {
        let built = core_op(&core, layout, group, at, rules)?;
        out.insert(layout, (built, core));
        Ok(())
    };
    if rules.net_flow {
        let found = message
            .ops
            .iter()
            .enumerate()
            .find_map(|(i, op)| match &op.op {
                Some(op::Op::CoreOp(core)) => Some((i, core)),
                _ => None,
            });
        let Some((i, core)) = found else {
            return Err(at
                .field(8)
                .bad("ops of a net-flow group", "a core op among them", "none"));
        };
        let at = at.nth(8, i);
        let at = at.field(4);
        if !multi_layout {
            add(Core::from(core.as_ref()), None, &at)?;
        }
        for (i, partial) in core
            .partial_core_ops
            .iter()
            .enumerate()
            .filter(|_| multi_layout)
        {
            let at = at.nth(7, i).numbered("layout");
            add_partial(
                &mut add,
                partial.core_op.as_ref().map(Core::from),
                bitmap(partial.layout.as_ref()),
                &at,
            )?;
        }
    } else if multi_layout {
        for (i, partial) in message.partial_network_groups.iter().enumerate() {
            let at = at.nth(7, i).numbered("layout");
            add_partial(
                &mut add,
                partial.network_group.as_ref().map(Core::from),
                bitmap(partial.layout.as_ref()),
                &at,
            )?;
        }
    } else {
        add(Core::from(message), None, at)?;
    }
    Ok(out.into_values().collect())
}

/// Takes the content of a variant and its layout.
type Add<'f, 'a> = &'f mut dyn FnMut(Core<'a>, Option<u32>, &At<'_>) -> Build<()>;

fn add_partial<'a>(
    add: Add<'_, 'a>,
    core: Option<Core<'a>>,
    bitmap: u32,
    at: &At<'_>,
) -> Build<()> {
    match core {
        Some(core) => add(core, Some(bitmap), &at.field(1)),
        None => Err(at.field(1).bad("content of a layout", "set", "none")),
    }
}

/// Full names of the networks.
fn networks(
    message: &types::NetworkGroup,
    first_partial: Option<&types::NetworkGroup>,
    core: &Core<'_>,
    group: &str,
    at: &At<'_>,
    rules: &Rules<'_>,
) -> Build<Vec<String>> {
    let partial: &[String] = match (rules.multi_network, first_partial) {
        (false, _) => &[],
        (true, _) if !message.networks_names.is_empty() => core.networks,
        (true, Some(first)) => &first.networks_names,
        (true, None) => &[],
    };
    let mut names: Vec<String> = partial
        .iter()
        .map(|name| format!("{group}/{name}"))
        .collect();
    if names.is_empty() {
        names.push(format!("{group}/{group}"));
    }
    for (i, name) in names.iter().enumerate() {
        at.nth(6, i)
            .name("network name with its group", name, MAX_NETWORK_NAME)?;
    }
    Ok(names)
}

/// Names of the virtual outputs in presentation order: with post-processing, and without.
fn output_order(
    message: &types::NetworkGroup,
    first_partial: Option<&types::NetworkGroup>,
    core: &Core<'_>,
    at: &At<'_>,
    rules: &Rules<'_>,
) -> Build<(Vec<String>, Vec<String>)> {
    let same = |names: &Vec<String>| (names.clone(), names.clone());
    if let Some(fused) = core.fused.filter(|fused| fused.network_has_fused_layers) {
        return Ok(same(&fused.updated_sorted_output_names));
    }
    let partial =
        first_partial.filter(|first| !rules.net_flow && !first.sorted_outputs_order.is_empty());
    if let Some(first) = partial {
        return Ok(same(&first.sorted_outputs_order));
    }
    if !message.sorted_outputs_order.is_empty() {
        let raw = message.fused_layers_metadata.as_ref();
        let raw = raw.map(|fused| fused.updated_sorted_output_names.clone());
        return Ok((
            message.sorted_outputs_order.clone(),
            raw.unwrap_or_default(),
        ));
    }
    let last = core
        .contexts
        .last()
        .and_then(|context| context.metadata.as_ref());
    match last {
        Some(metadata) if !metadata.sorted_outputs_order.is_empty() => {
            Ok(same(&metadata.sorted_outputs_order))
        }
        _ => Err(at
            .field(4)
            .bad("order of outputs", "a list of names", "none")),
    }
}

fn core_op(
    core: &Core<'_>,
    layout: Option<u32>,
    group: &str,
    at: &At<'_>,
    rules: &Rules<'_>,
) -> Build<CoreOp> {
    let metadata = core.metadata.cloned().unwrap_or_default();
    if rules.net_flow && metadata.network_group_name != group {
        return Err(at.field(1).field(1).bad(
            "name of the core op",
            format!("{group:?}, as the group"),
            format!("{:?}", metadata.network_group_name),
        ));
    }
    if core.contexts.is_empty() {
        return Err(at
            .field(3)
            .bad("dynamic contexts", format!("1 to {MAX_CONTEXTS}"), 0));
    }
    if core.contexts.len() > MAX_CONTEXTS {
        return Err(at.field(3).bad(
            "dynamic contexts",
            format!("1 to {MAX_CONTEXTS}"),
            core.contexts.len(),
        ));
    }
    let networks = if rules.multi_network {
        core.networks.to_vec()
    } else {
        vec![group.to_owned()]
    };
    for (i, name) in networks.iter().enumerate() {
        at.nth(6, i).name("network name", name, MAX_NETWORK_NAME)?;
    }
    let config_channel_engines = config_channels(&metadata, &at.field(1))?;
    let channels = u32::try_from(config_channel_engines.len()).unwrap_or(MAX_CONFIG_CHANNELS);
    let scope = actions::Scope {
        rules,
        channels,
        networks: networks.len(),
    };
    let fused = core
        .fused
        .filter(|_| core.has_fused())
        .map_or(&[][..], |fused| &fused.fused_layers);
    if fused.len() > MAX_BOUNDARY {
        return Err(at.field(5).bad(
            "fused layers",
            format!("at most {MAX_BOUNDARY}"),
            fused.len(),
        ));
    }
    let layer_scope = layers::Scope {
        rules,
        networks: networks.len(),
        transposed: metadata.transposed_net,
        fused,
    };
    let preliminary = match core.preliminary {
        Some(config) => {
            let at = at.field(2).plain("preliminary");
            program(&config.operation, 1, &at, &scope)?
        }
        None => Program::default(),
    };
    let mut contexts = Vec::with_capacity(core.contexts.len());
    for (i, context) in core.contexts.iter().enumerate() {
        let at = at.nth(3, i).numbered("context");
        let empty = types::ContextMetadata::default();
        let metadata = context.metadata.as_ref().unwrap_or(&empty);
        let program = program(&context.operations, 2, &at, &scope)?;
        let metadata_at = at.field(3);
        if metadata.edge_layers.len() > MAX_EDGE_LAYERS {
            let expected = format!("at most {MAX_EDGE_LAYERS}");
            return Err(metadata_at.bad("edge layers", expected, metadata.edge_layers.len()));
        }
        let mut layers = Vec::with_capacity(metadata.edge_layers.len());
        for (i, layer) in metadata.edge_layers.iter().enumerate() {
            layers.push(edge_layer(layer, &metadata_at.nth(2, i), &layer_scope)?);
        }
        ddr_pairs(&layers, &metadata_at)?;
        contexts.push(Context {
            name: metadata.name.clone(),
            program,
            layers,
        });
    }
    let built = CoreOp {
        layout,
        networks,
        config_channel_engines,
        preliminary,
        contexts,
    };
    for direction in [Direction::HostToDevice, Direction::DeviceToHost] {
        let count = built.boundary(direction).count();
        if count > MAX_BOUNDARY {
            return Err(at.bad(
                "boundary layers in one direction",
                format!("at most {MAX_BOUNDARY}"),
                count,
            ));
        }
    }
    names_are_unique(&built, at)?;
    peers_exist(&built, at)?;
    Ok(built)
}

fn program(
    list: &[types::Operation],
    field: u32,
    at: &At<'_>,
    scope: &actions::Scope<'_>,
) -> Build<Program> {
    let operations = actions::operations(list, field, at, scope)?;
    let config = collect(&operations, scope.rules.version);
    Ok(Program { operations, config })
}

/// Engine of each config channel: the first entry with its index, else engine 0.
fn config_channels(metadata: &types::NetworkGroupMetadata, at: &At<'_>) -> Build<Vec<u8>> {
    let count = metadata.cfg_channels_count.max(1);
    if count > MAX_CONFIG_CHANNELS {
        return Err(at.field(5).bad(
            "config channels",
            format!("at most {MAX_CONFIG_CHANNELS}"),
            count,
        ));
    }
    (0..count)
        .map(|channel| {
            let entry = metadata
                .cfg_channels_config
                .iter()
                .enumerate()
                .find(|(_, c)| c.cfg_channel_index == channel);
            match entry {
                Some((i, config)) => at
                    .nth(7, i)
                    .field(2)
                    .u8("engine of a config channel", config.engine_id),
                None => Ok(0),
            }
        })
        .collect()
}
