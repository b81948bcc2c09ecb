//! The model as a description: groups, contexts, operations, layers.

use hailo_vfio::hef::{
    Action, Body, BurstType, ChipNms, Connection, CoreOp, DataType, Direction, EdgeLayer, Layer,
    Mux, MuxPart, Operation, Order, Planes, Program, RegisterValue, Trigger,
};

use super::container::Placed;
use super::flow::Flow;
use super::wire::Msg;

/// A file to write.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) architecture: u32,
    pub(crate) proto_version: u64,
    pub(crate) compiler: (u32, u32, u32),
    pub(crate) timestamp: u64,
    pub(crate) extensions: Vec<u32>,
    pub(crate) optional: Vec<u32>,
    pub(crate) groups: Vec<Group>,
}

/// A group to write. Several variants make a multi-layout group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) variants: Vec<CoreOp>,
    pub(crate) output_order: Vec<String>,
    pub(crate) flow: Option<Flow>,
    pub(crate) bottleneck_fps: f64,
    pub(crate) latency: f64,
    pub(crate) computational_ops: u64,
}

/// What the writer must know about the file around it.
#[derive(Clone, Copy)]
pub(crate) struct Style<'a> {
    /// Version 0 has its config words inline; this finds them by offset.
    pub(crate) inline: Option<&'a dyn Fn(u64, u32) -> Vec<u8>>,
}

impl Description {
    /// The proto section.
    pub(crate) fn proto(&self, resources: &[Placed], style: Style<'_>) -> Vec<u8> {
        let version = Msg::new()
            .u(1, self.compiler.0)
            .u(2, self.compiler.1)
            .u(3, self.compiler.2);
        let header = Msg::new()
            .u(1, self.architecture)
            .u(2, self.timestamp)
            .u(4, self.proto_version)
            .msg(5, &version);
        let extension = |number: &u32| Msg::new().u(1, *number);
        Msg::new()
            .msg(1, &header)
            .all(2, &self.groups, |group| group.message(style))
            .all(5, &self.extensions, extension)
            .all(6, &self.optional, extension)
            .all(7, resources, |(name, offset, size, digest)| {
                Msg::new()
                    .u(1, *offset)
                    .u(2, *size)
                    .bytes(3, name)
                    .u(4, *digest)
            })
            .finish()
    }
}

impl Group {
    fn message(&self, style: Style<'_>) -> Msg {
        let first = &self.variants[0];
        let names = |msg: Msg| {
            msg.msg(1, &Msg::new().bytes(1, &self.name))
                .texts(4, &self.output_order)
                .texts(6, &first.networks)
        };
        let layout = |variant: &CoreOp| Msg::new().u(1, variant.layout.unwrap());
        match (&self.flow, first.layout) {
            (None, None) => self.core(first, style).texts(4, &self.output_order),
            (None, Some(_)) => Msg::new().all(7, &self.variants, |variant| {
                let group = self.core(variant, style).texts(4, &self.output_order);
                Msg::new().msg(1, &group).msg(2, &layout(variant))
            }),
            (Some(flow), None) => flow.write(names(Msg::new()), &self.core(first, style)),
            (Some(flow), Some(_)) => {
                let core = Msg::new().all(7, &self.variants, |variant| {
                    Msg::new()
                        .msg(1, &self.core(variant, style))
                        .msg(2, &layout(variant))
                });
                let partial = Msg::new().msg(1, &names(Msg::new()));
                flow.write(names(Msg::new()).msg(7, &partial), &core)
            }
        }
    }

    /// Fields 1, 2, 3, 5 and 6, which groups and core ops have in common.
    fn core(&self, core: &CoreOp, style: Style<'_>) -> Msg {
        let channels = core.config_channel_engines.iter().zip(0_u32..);
        let metadata = Msg::new()
            .bytes(1, &self.name)
            .f64(4, self.bottleneck_fps)
            .u(5, u32::try_from(core.config_channel_engines.len()).unwrap())
            .f64(6, self.latency)
            .all(7, channels, |(engine, channel)| {
                Msg::new().u(1, channel).u(2, *engine)
            })
            .u(8, self.computational_ops);
        let fused: Vec<_> = fused_layers(core);
        let mut msg = Msg::new()
            .msg(1, &metadata)
            .msg(2, &program(&core.preliminary, 1, style));
        for context in &core.contexts {
            let metadata = Msg::new()
                .bytes(1, &context.name)
                .all(2, &context.layers, edge_layer);
            msg = msg.msg(3, &program(&context.program, 2, style).msg(3, &metadata));
        }
        if !fused.is_empty() {
            let fused = Msg::new().flag(1, true).texts(2, &self.output_order).all(
                3,
                &fused,
                |(name, nms)| {
                    Msg::new()
                        .msg(1, &Msg::new().bytes(1, name))
                        .msg(3, &nms_info(nms))
                },
            );
            msg = msg.msg(5, &fused);
        }
        msg.texts(6, &core.networks)
    }
}

fn fused_layers(core: &CoreOp) -> Vec<(String, ChipNms)> {
    let mut out: Vec<(String, ChipNms)> = Vec::new();
    for edge in core.contexts.iter().flat_map(|context| &context.layers) {
        if let Body::Plain(Layer {
            nms: Some(ChipNms {
                fused: Some(part), ..
            }),
            ..
        }) = &edge.body
            && !out.iter().any(|(name, _)| *name == part.name)
        {
            out.push((part.name.clone(), part.whole.clone()));
        }
    }
    out
}

fn program(program: &Program, field: u32, style: Style<'_>) -> Msg {
    Msg::new().all(field, &program.operations, |operation| {
        self::operation(operation, style)
    })
}

fn operation(operation: &Operation, style: Style<'_>) -> Msg {
    Msg::new()
        .msg(1, &trigger(&operation.trigger))
        .all(2, &operation.actions, |action| self::action(action, style))
}

fn trigger(trigger: &Trigger) -> Msg {
    let (field, inner) = match trigger {
        Trigger::None => (3, Msg::new()),
        Trigger::Lcu { cluster, lcu } => (2, Msg::new().u(1, *cluster).u(2, *lcu)),
        Trigger::OutputDone { stream } => (4, Msg::new().u(1, *stream)),
        Trigger::DmaIdle { stream } => (7, Msg::new().u(1, *stream)),
        Trigger::NmsIdle(n) => {
            let numbers = [
                n.aggregator,
                n.pred_buffer,
                n.pred_cluster,
                n.pred_interface,
                n.succ_buffer,
                n.succ_interface,
            ];
            (
                6,
                (1..)
                    .zip(numbers)
                    .fold(Msg::new(), |msg, (field, value)| msg.u(field, value)),
            )
        }
        other => panic!("the writer does not know {other:?}"),
    };
    Msg::new().u(1, 77_u32).msg(field, &inner)
}

fn action(action: &Action, style: Style<'_>) -> Msg {
    let (field, inner) = match action {
        Action::None => (9, Msg::new()),
        Action::WriteConfig(piece) => match style.inline {
            Some(words) => (
                3,
                Msg::new()
                    .bytes(1, words(piece.offset, piece.bytes))
                    .u(2, piece.channel),
            ),
            None => (
                16,
                Msg::new()
                    .u(1, piece.offset)
                    .u(2, piece.bytes)
                    .u(3, piece.channel),
            ),
        },
        Action::EnableSequencer(s) => {
            let halves = |value: u64| (value & 0xffff_ffff, value >> 32);
            let ((a, b), (c, d)) = (halves(s.l2_offsets[0]), halves(s.l2_offsets[1]));
            let l3 = Msg::new().u(1, s.l3_cut).u(2, s.l3_offset).flag(3, true);
            let msg = Msg::new()
                .u(1, s.cluster)
                .u(3, s.apus)
                .u(4, s.subclusters)
                .u(5, s.l2_memories);
            (
                5,
                msg.u(6, s.input_aligners)
                    .u(7, a)
                    .u(8, b)
                    .u(9, c)
                    .u(10, d)
                    .msg(11, &l3),
            )
        }
        Action::WaitForSequencer { cluster } => (6, Msg::new().u(1, *cluster)),
        Action::EnableLcu {
            cluster,
            lcu,
            network_index,
            done_address,
            done_count,
        } => {
            let msg = Msg::new()
                .u(1, *lcu)
                .u(2, *cluster)
                .u(3, *done_address)
                .u(4, *done_count);
            (8, msg.u(5, 9_u32).u(6, *network_index))
        }
        Action::DisableLcu { cluster, lcu } => {
            (7, Msg::new().u(1, *lcu).u(2, *cluster).u(5, 9_u32))
        }
        Action::SwitchLcuBatch {
            cluster,
            lcu,
            network_index,
        } => (
            15,
            Msg::new().u(1, *lcu).u(2, *cluster).u(6, *network_index),
        ),
        Action::AllowInputDataflow { stream } => (10, Msg::new().u(1, *stream).u(2, 1_u32)),
        Action::WaitForModule { module } => (11, Msg::new().u(1, *module)),
        Action::EnableNms {
            unit,
            network_index,
            classes,
            burst,
            division_factor,
        } => {
            let msg = Msg::new()
                .u(1, *unit)
                .u(2, *network_index)
                .u(3, *classes)
                .u(4, *burst);
            (13, msg.u(5, *division_factor))
        }
        Action::WriteRegister(w) => {
            let (kind, data) = match w.value {
                RegisterValue::Constant(value) => (0_u32, value.to_le_bytes().to_vec()),
                RegisterValue::BatchSize => (1, Vec::new()),
            };
            let msg = Msg::new()
                .u(1, w.address)
                .u(2, kind)
                .bytes(3, data)
                .u(4, w.mask);
            (14, msg.u(5, w.network_index).u(6, w.shift))
        }
        Action::AllowConfigChannels => (17, Msg::new().u(1, 3_u32)),
        Action::DisableDataChannels => (18, Msg::new()),
        Action::Sleep { microseconds } => (12, Msg::new().msg(2, &Msg::new().u(1, *microseconds))),
        Action::Halt => (12, Msg::new().u(1, 1_u32).msg(3, &Msg::new())),
        other => panic!("the writer does not know {other:?}"),
    };
    Msg::new().u(1, 5_u32).msg(field, &inner)
}

fn edge_layer(edge: &EdgeLayer) -> Msg {
    let info = Msg::new();
    let peer = |p: &hailo_vfio::hef::Peer| {
        Msg::new()
            .u(1, p.context)
            .u(3, p.stream_index)
            .u(4, p.engine)
    };
    let info = match &edge.connection {
        Connection::Boundary => info.u(6, u32::MAX).i32(9, -1),
        Connection::InterContext { peer: p } => {
            info.u(3, 1_u32).u(6, u32::MAX).msg(8, &peer(p)).i32(9, -1)
        }
        Connection::Ddr { peer: p, rows } => {
            info.u(3, 2_u32).u(6, *rows).msg(8, &peer(p)).i32(9, -1)
        }
        Connection::Cache { id } => info.u(3, 3_u32).u(6, u32::MAX).u(9, *id),
    };
    let boundary = edge.is_boundary();
    let (kind, field, body, network) = match &edge.body {
        Body::Plain(l) => (
            0_u32,
            3,
            layer(l, edge.direction, boundary),
            l.network_index,
        ),
        Body::Mux(m) => (
            1,
            4,
            mux(m, edge.direction, boundary),
            m.layer.network_index,
        ),
        Body::Planes(p) => (2, 8, planes(p), p.planes[0].network_index),
    };
    let msg = Msg::new()
        .flag(1, edge.direction == Direction::DeviceToHost)
        .u(2, kind)
        .msg(field, &body);
    let msg = msg.msg(5, &info).u(6, network);
    match edge.pad {
        Some(pad) => msg.always(7, pad),
        None => msg,
    }
}

fn format_code(order: Order) -> u32 {
    match order {
        Order::Nhwc => 0,
        Order::Nhcw => 1,
        Order::Nc => 2,
        Order::Fcr => 3,
        Order::BayerRgb => 4,
        Order::Nhw => 5,
        Order::NmsOnChip => 6,
        Order::F8cr => 7,
        Order::Rgb888 => 8,
        Order::Yuy2 => 11,
        Order::Yyuv => 14,
        Order::Yyvu => 15,
        Order::Yyyyuv => 16,
        other => panic!("{other} is no order of the chip"),
    }
}

fn base(l: &Layer, boundary: bool) -> Msg {
    let shape = if l.transposed {
        l.shape.transposed()
    } else {
        l.shape
    };
    let mut msg = Msg::new()
        .u(1, shape.height)
        .u(2, l.hw_shape.height)
        .u(3, shape.width)
        .u(4, l.hw_shape.width)
        .u(5, shape.features)
        .u(6, l.hw_shape.features)
        .u(7, format_code(l.order))
        .u(8, l.stream_index)
        .u(9, l.core_bytes_per_buffer)
        .u(10, l.core_buffers_per_frame);
    if let Some(nms) = &l.nms {
        msg = msg.msg(11, &Msg::new().msg(1, &nms_info(nms)));
    }
    msg = msg.u(
        12,
        if l.data_type == DataType::Uint16 {
            2_u32
        } else {
            1
        },
    );
    if boundary {
        let (index, cluster) = l.buffer.unwrap_or_default();
        msg = msg.msg(13, &Msg::new().u(1, index).u(2, cluster));
    }
    msg.u(15, l.fifo_bytes).u(16, l.engine)
}

fn nms_info(nms: &ChipNms) -> Msg {
    let burst_type = match nms.burst_type {
        BurstType::H8Bbox | BurstType::H15Bbox => 0_u32,
        BurstType::H8PerClass => 1,
        BurstType::H15PerClass => 2,
        BurstType::H15PerFrame => 3,
    };
    let mut msg = Msg::new()
        .u(2, nms.classes)
        .u(3, nms.max_per_class)
        .u(4, nms.bbox_bytes);
    if let Some(part) = &nms.fused {
        msg = msg
            .flag(5, true)
            .msg(6, &Msg::new().u(1, part.class_group).bytes(3, &part.name));
    }
    // Without bursts the size on the wire has no meaning.
    msg.u(7, nms.chunks).u(8, nms.burst).u(9, burst_type)
}

fn layer(l: &Layer, _direction: Direction, boundary: bool) -> Msg {
    let q = &l.quantization;
    let numeric = Msg::new()
        .f32(1, q.layer.zero_point)
        .f32(2, q.layer.scale)
        .f32(3, q.layer.limit_min)
        .f32(4, q.layer.limit_max)
        .packed_f64(5, &q.zero_points)
        .packed_f64(6, &q.scales);
    Msg::new()
        .bytes(1, &l.name)
        .msg(2, &base(l, boundary))
        .msg(3, &numeric)
        .texts(5, &l.original_names)
        .flag(6, l.transposed)
}

fn mux(m: &Mux, direction: Direction, boundary: bool) -> Msg {
    let count = u32::try_from(m.parts.len()).unwrap();
    let data = Msg::new()
        .u(1, count)
        .u(2, m.height_gcd)
        .u(3, count)
        .packed_u32(4, m.height_ratios.iter().copied());
    Msg::new()
        .bytes(1, &m.layer.name)
        .msg(2, &base(&m.layer, boundary))
        .msg(3, &data)
        .all(5, &m.parts, |part| match part {
            MuxPart::Plain(l) => Msg::new().msg(1, &layer(l, direction, false)),
            MuxPart::Mux(m) => Msg::new().msg(2, &mux(m, direction, false)),
        })
}

fn planes(p: &Planes) -> Msg {
    let format = match p.order {
        Order::Nv12 => 0_u32,
        Order::Nv21 => 1,
        Order::I420 => 2,
        other => panic!("{other} has no planes"),
    };
    Msg::new()
        .bytes(1, &p.name)
        .u(2, format)
        .all(3, &p.planes, |l| {
            Msg::new().msg(1, &layer(l, Direction::HostToDevice, true))
        })
        .u(4, p.shape.height)
        .u(5, p.shape.width)
        .u(6, p.shape.features)
}
