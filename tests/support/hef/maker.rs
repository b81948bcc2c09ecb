//! Random groups: contexts, operations, layers and net-flow graphs.

use hailo_vfio::hef::{
    Action, Body, BurstType, ChipNms, ConfigPiece, Connection, Context, CoreOp, DataType,
    Direction, EdgeLayer, FusedPart, Layer, LayerQuantization, Mux, MuxPart, NmsIdle, Operation,
    Order, Peer, Planes, Program, Quantization, RegisterValue, RegisterWrite, Sequencer, Shape,
    Trigger,
};

use super::flow::Flow;
use super::model::Group;
use super::random::Random;

/// Makes groups of one file.
pub(crate) struct Maker {
    pub(crate) random: Random,
    pub(crate) multi_layout: bool,
    pub(crate) by_feature: bool,
    pub(crate) nms_burst: bool,
    pub(crate) net_flow: bool,
    pub(crate) config: Vec<u8>,
    pub(crate) names: u32,
}

/// Stream numbers of one context.
#[derive(Default)]
struct Streams {
    next: u8,
}

impl Streams {
    fn take(&mut self) -> u8 {
        self.next += 1;
        self.next
    }
}

const ORDERS: [Order; 12] = [
    Order::Nhwc,
    Order::Nhcw,
    Order::Nc,
    Order::Fcr,
    Order::BayerRgb,
    Order::Nhw,
    Order::F8cr,
    Order::Rgb888,
    Order::Yuy2,
    Order::Yyuv,
    Order::Yyvu,
    Order::Yyyyuv,
];

impl Maker {
    fn name(&mut self, word: &str) -> String {
        self.names += 1;
        format!("net/{word}{}", self.names)
    }

    pub(crate) fn group(&mut self, name: &str) -> Group {
        let networks: Vec<String> = (0..self.random.between(1, 3))
            .map(|i| format!("network{i}"))
            .collect();
        let channels = usize::try_from(self.random.between(1, 24)).unwrap();
        let mut core = CoreOp {
            layout: None,
            config_channel_engines: (0..channels).map(|_| self.random.u8() % 3).collect(),
            preliminary: self.program(channels, networks.len()),
            contexts: Vec::new(),
            networks,
        };
        self.contexts(&mut core, channels);
        let flow = if self.net_flow {
            Some(self.flow(&mut core))
        } else {
            None
        };
        let output_order = self.output_order(&core, flow.as_ref());
        let variants = if self.multi_layout {
            let layouts = [0x0d_u32, 0x0e, 0x13];
            let count = usize::try_from(self.random.between(1, 3)).unwrap();
            layouts[..count]
                .iter()
                .map(|&layout| CoreOp {
                    layout: Some(layout),
                    ..core.clone()
                })
                .collect()
        } else {
            vec![core]
        };
        Group {
            name: name.to_owned(),
            variants,
            output_order,
            flow,
            bottleneck_fps: f64::from(self.random.u32(0, 1000)),
            latency: f64::from(self.random.u32(0, 10)) / 8.0,
            computational_ops: self.random.next() >> 8,
        }
    }

    /// Names of virtual outputs in a random order, one name too many at times.
    fn output_order(&mut self, core: &CoreOp, flow: Option<&Flow>) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for edge in core.boundary(Direction::DeviceToHost) {
            if flow.is_some_and(|flow| {
                flow.steps
                    .iter()
                    .any(|step| step.inputs.iter().any(|name| name == edge.name()))
            }) {
                continue;
            }
            match &edge.body {
                Body::Mux(mux) => names.extend(mux.leaves().iter().map(|leaf| leaf.name.clone())),
                Body::Plain(layer) => {
                    let fused = layer.nms.as_ref().and_then(|nms| nms.fused.as_ref());
                    names.push(fused.map_or(&layer.name, |part| &part.name).clone());
                }
                Body::Planes(planes) => names.push(planes.name.clone()),
            }
        }
        names.extend(
            flow.iter()
                .flat_map(|flow| flow.steps.iter().map(|step| step.output.clone())),
        );
        names.sort_by_cached_key(|_| self.random.next());
        names.dedup();
        if self.random.chance(20) {
            names.push("an output of another variant".to_owned());
        }
        names
    }

    fn program(&mut self, channels: usize, networks: usize) -> Program {
        let operations = (0..self.random.between(0, 4)).map(|_| Operation {
            trigger: self.trigger(),
            actions: (0..self.random.between(0, 8))
                .map(|_| self.action(channels, networks))
                .collect(),
        });
        Program {
            operations: operations.collect(),
            config: Vec::new(),
        }
    }

    fn trigger(&mut self) -> Trigger {
        let r = &mut self.random;
        match r.between(0, 4) {
            0 => Trigger::None,
            1 => Trigger::Lcu {
                cluster: r.u8(),
                lcu: r.u8(),
            },
            2 => Trigger::OutputDone { stream: r.u8() },
            3 => Trigger::DmaIdle { stream: r.u8() },
            _ => Trigger::NmsIdle(Box::new(NmsIdle {
                aggregator: r.u8(),
                pred_buffer: r.u8(),
                pred_cluster: r.u8(),
                pred_interface: r.u8(),
                succ_buffer: r.u8(),
                succ_interface: r.u8(),
            })),
        }
    }

    fn piece(&mut self, channels: usize) -> ConfigPiece {
        let bytes = u32::from(self.random.u8() % 8) * 8;
        let offset = u64::try_from(self.config.len()).unwrap();
        let words = self.random.bytes(bytes.into());
        self.config.extend(words);
        let channel = self.random.between(0, u64::try_from(channels).unwrap() - 1);
        ConfigPiece {
            channel: u8::try_from(channel).unwrap(),
            offset,
            bytes,
        }
    }

    fn action(&mut self, channels: usize, networks: usize) -> Action {
        let network_index =
            u8::try_from(self.random.between(0, u64::try_from(networks).unwrap() - 1)).unwrap();
        if self.random.chance(40) {
            return Action::WriteConfig(self.piece(channels));
        }
        let r = &mut self.random;
        match r.between(0, 13) {
            0 => Action::None,
            1 => Action::EnableSequencer(Box::new(Sequencer {
                cluster: r.u8(),
                l3_cut: r.u8(),
                l3_offset: r.u16(),
                apus: r.u32(0, u32::MAX),
                input_aligners: r.u32(0, u32::MAX),
                subclusters: r.next(),
                l2_memories: r.next(),
                l2_offsets: [r.next(), r.next()],
            })),
            2 => Action::WaitForSequencer { cluster: r.u8() },
            3 => Action::EnableLcu {
                cluster: r.u8(),
                lcu: r.u8(),
                network_index,
                done_address: r.u16(),
                done_count: r.u32(0, u32::MAX),
            },
            4 => Action::DisableLcu {
                cluster: r.u8(),
                lcu: r.u8(),
            },
            5 => Action::SwitchLcuBatch {
                cluster: r.u8(),
                lcu: r.u8(),
                network_index,
            },
            6 => Action::AllowInputDataflow { stream: r.u8() },
            7 => Action::WaitForModule { module: r.u8() },
            8 => Action::EnableNms {
                unit: r.u8(),
                network_index,
                classes: r.u16().max(1),
                burst: r.u16().max(1),
                division_factor: r.u8().max(1),
            },
            9 => Action::WriteRegister(Box::new(RegisterWrite {
                address: r.u32(0, u32::MAX) & !3,
                value: if r.chance(70) {
                    RegisterValue::Constant(r.u32(0, u32::MAX))
                } else {
                    RegisterValue::BatchSize
                },
                mask: r.u32(0, u32::MAX),
                shift: r.u8(),
                network_index,
            })),
            10 => Action::AllowConfigChannels,
            11 => Action::DisableDataChannels,
            12 => Action::Sleep {
                microseconds: r.between(1000, u64::MAX >> 1),
            },
            _ => Action::Halt,
        }
    }

    fn contexts(&mut self, core: &mut CoreOp, channels: usize) {
        let networks = core.networks.len();
        let count = usize::try_from(self.random.between(1, 4)).unwrap();
        let mut streams: Vec<Streams> = (0..count).map(|_| Streams::default()).collect();
        let mut layers: Vec<Vec<EdgeLayer>> = vec![Vec::new(); count];
        for _ in 0..self.random.between(1, 3) {
            let edge = self.input(networks, &mut streams[0]);
            layers[0].push(edge);
        }
        for _ in 0..self.random.between(1, 4) {
            let edges = self.output(networks, &mut streams[count - 1]);
            layers[count - 1].extend(edges);
        }
        for from in 0..count {
            if self.random.chance(30) {
                self.ddr_pair(networks, from, &mut streams[from], &mut layers[from]);
            }
            for to in from + 1..count {
                if self.random.chance(60) {
                    self.between_contexts(networks, (from, to), &mut streams, &mut layers);
                }
            }
        }
        if self.random.chance(30) {
            let id = self.random.u32(0, 1000);
            for (context, direction) in [
                (0, Direction::DeviceToHost),
                (count - 1, Direction::HostToDevice),
            ] {
                let layer =
                    self.layer("cache", networks, streams[context].take(), direction, false);
                layers[context].push(edge(
                    direction,
                    Connection::Cache { id },
                    Body::Plain(layer),
                ));
            }
        }
        for layers in layers {
            let name = self.name("context");
            core.contexts.push(Context {
                name,
                program: self.program(channels, networks),
                layers,
            });
        }
    }

    fn between_contexts(
        &mut self,
        networks: usize,
        (from, to): (usize, usize),
        streams: &mut [Streams],
        layers: &mut [Vec<EdgeLayer>],
    ) {
        let output = self.layer(
            "between",
            networks,
            streams[from].take(),
            Direction::DeviceToHost,
            false,
        );
        let input = self.layer(
            "between",
            networks,
            streams[to].take(),
            Direction::HostToDevice,
            false,
        );
        let peer = |context: usize, layer: &Layer| Connection::InterContext {
            peer: Peer {
                context: u16::try_from(context).unwrap(),
                stream_index: layer.stream_index,
                engine: layer.engine,
            },
        };
        let (to_input, to_output) = (peer(to, &input), peer(from, &output));
        layers[from].push(edge(Direction::DeviceToHost, to_input, Body::Plain(output)));
        layers[to].push(edge(Direction::HostToDevice, to_output, Body::Plain(input)));
    }

    fn ddr_pair(
        &mut self,
        networks: usize,
        context: usize,
        streams: &mut Streams,
        layers: &mut Vec<EdgeLayer>,
    ) {
        let mut output = self.layer(
            "ddr",
            networks,
            streams.take(),
            Direction::DeviceToHost,
            false,
        );
        let mut input = self.layer(
            "ddr",
            networks,
            streams.take(),
            Direction::HostToDevice,
            false,
        );
        output.core_bytes_per_buffer = u16::try_from(self.random.between(1, 100) * 512).unwrap();
        input.core_bytes_per_buffer = output.core_bytes_per_buffer;
        input.core_buffers_per_frame = output.core_buffers_per_frame;
        let rows = self.random.u16();
        let ddr = |layer: &Layer| Connection::Ddr {
            peer: Peer {
                context: u16::try_from(context).unwrap(),
                stream_index: layer.stream_index,
                engine: layer.engine,
            },
            rows,
        };
        let (to_input, to_output) = (ddr(&input), ddr(&output));
        layers.push(edge(Direction::HostToDevice, to_output, Body::Plain(input)));
        layers.push(edge(Direction::DeviceToHost, to_input, Body::Plain(output)));
    }

    fn quantization(&mut self, features: u32, direction: Direction) -> LayerQuantization {
        let r = &mut self.random;
        let layer = Quantization {
            zero_point: f32::from(r.u8()),
            scale: f32::from(r.u8()) / 256.0,
            limit_min: -f32::from(r.u8()),
            limit_max: f32::from(r.u8()),
        };
        let list = |r: &mut Random| {
            if !self.by_feature || r.chance(50) {
                return Vec::new();
            }
            let first = f64::from(r.u8());
            let value = |i: u32| {
                if direction == Direction::HostToDevice {
                    first
                } else {
                    first + f64::from(i)
                }
            };
            (0..features).map(value).collect()
        };
        LayerQuantization {
            layer,
            zero_points: list(r),
            scales: list(r),
            by_feature: self.by_feature,
        }
    }

    fn layer(
        &mut self,
        word: &str,
        networks: usize,
        stream_index: u8,
        direction: Direction,
        boundary: bool,
    ) -> Layer {
        let name = self.name(word);
        let r = &mut self.random;
        let order = r.pick(&ORDERS);
        let transposed = boundary && order != Order::Nc && r.chance(20);
        let wire = Shape::new(r.u32(0, 64), r.u32(0, 64), r.u32(0, 64));
        let hw_shape = Shape::new(
            wire.height + r.u32(0, 9),
            wire.width + r.u32(0, 9),
            wire.features + r.u32(0, 9),
        );
        let data_type = if r.chance(70) {
            DataType::Uint8
        } else {
            DataType::Uint16
        };
        let mut layer = Layer {
            original_names: (0..r.between(0, 2))
                .map(|i| format!("{name}/original{i}"))
                .collect(),
            name,
            network_index: u8::try_from(r.between(0, u64::try_from(networks).unwrap() - 1))
                .unwrap(),
            stream_index,
            engine: r.u8(),
            shape: if transposed { wire.transposed() } else { wire },
            hw_shape,
            data_type,
            order,
            transposed,
            core_bytes_per_buffer: r.u16(),
            core_buffers_per_frame: r.u16(),
            fifo_bytes: r.u32(0, 65_536),
            feature_padding_payload: None,
            quantization: LayerQuantization::default(),
            nms: None,
            buffer: boundary.then(|| (r.u32(0, 99), r.u32(0, 99))),
        };
        layer.quantization = self.quantization(wire.features, direction);
        layer
    }

    fn input(&mut self, networks: usize, streams: &mut Streams) -> EdgeLayer {
        let direction = Direction::HostToDevice;
        if self.random.chance(20) {
            let count = self.random.between(1, 3);
            let mut planes: Vec<Layer> = (0..count)
                .map(|_| self.layer("plane", networks, streams.take(), direction, true))
                .collect();
            let (data_type, network) = (planes[0].data_type, planes[0].network_index);
            for plane in &mut planes {
                plane.data_type = data_type;
                plane.network_index = network;
            }
            let planes = Planes {
                name: self.name("image"),
                order: self.random.pick(&[Order::Nv12, Order::Nv21, Order::I420]),
                shape: Shape::new(self.random.u32(1, 99), self.random.u32(1, 99), 3),
                data_type,
                planes,
            };
            return edge(direction, Connection::Boundary, Body::Planes(planes));
        }
        let layer = self.layer("input", networks, streams.take(), direction, true);
        edge(direction, Connection::Boundary, Body::Plain(layer))
    }

    fn output(&mut self, networks: usize, streams: &mut Streams) -> Vec<EdgeLayer> {
        let direction = Direction::DeviceToHost;
        let boundary = |body| edge(direction, Connection::Boundary, body);
        match self.random.between(0, 9) {
            0 | 1 => {
                let stream = streams.take();
                vec![boundary(Body::Mux(self.mux(networks, stream, true, 3)))]
            }
            2 | 3 => {
                let mut layer = self.layer("nms", networks, streams.take(), direction, true);
                self.detection(&mut layer);
                vec![boundary(Body::Plain(layer))]
            }
            4 => {
                let name = self.name("fused");
                let mut whole = self.layer("unused", networks, 0, direction, true);
                self.detection(&mut whole);
                let whole = whole.nms.unwrap();
                let parts = (0..3).map(|class_group| {
                    let mut layer = self.layer("part", networks, streams.take(), direction, true);
                    self.detection(&mut layer);
                    if let Some(nms) = &mut layer.nms {
                        nms.fused = Some(Box::new(FusedPart {
                            class_group,
                            name: name.clone(),
                            whole: whole.clone(),
                        }));
                    }
                    boundary(Body::Plain(layer))
                });
                parts.collect()
            }
            _ => {
                let layer = self.layer("output", networks, streams.take(), direction, true);
                vec![boundary(Body::Plain(layer))]
            }
        }
    }

    fn mux(&mut self, networks: usize, stream: u8, boundary: bool, depth: u32) -> Mux {
        let mut layer = self.layer("mux", networks, stream, Direction::DeviceToHost, boundary);
        if layer.transposed {
            layer.shape = layer.shape.transposed();
        }
        layer.transposed = false;
        layer.original_names.clear();
        layer.quantization = LayerQuantization::default();
        // Four, each of two of two of two: 32 leaves, and more are refused.
        let most = if boundary { 4 } else { 2 };
        let parts: Vec<MuxPart> = (0..self.random.between(1, most))
            .map(|_| {
                let mut part = if depth > 0 && self.random.chance(20) {
                    MuxPart::Mux(self.mux(networks, 0, false, depth - 1))
                } else {
                    MuxPart::Plain(self.layer("leaf", networks, 0, Direction::DeviceToHost, false))
                };
                set_network(&mut part, layer.network_index);
                part
            })
            .collect();
        let height_ratios = parts.iter().map(|_| self.random.u32(1, 9)).collect();
        Mux {
            layer,
            height_gcd: self.random.u32(1, 9),
            height_ratios,
            parts,
        }
    }

    fn detection(&mut self, layer: &mut Layer) {
        let r = &mut self.random;
        let nms = ChipNms {
            classes: r.u32(1, 90),
            bbox_bytes: r.u32(8, 16),
            max_per_class: r.u32(1, 100),
            chunks: r.u32(1, 4),
            burst: if self.nms_burst { r.u32(1, 200) } else { 1 },
            burst_type: if self.nms_burst {
                BurstType::H15PerClass
            } else {
                BurstType::H15Bbox
            },
            fused: None,
        };
        layer.order = Order::NmsOnChip;
        layer.transposed = false;
        layer.shape = nms.shape();
        layer.nms = Some(nms);
        layer.quantization = self.quantization(2, Direction::DeviceToHost);
    }

    /// Adds outputs with pads to the last context, and steps that read them.
    fn flow(&mut self, core: &mut CoreOp) -> Flow {
        let networks = core.networks.len();
        let mut flow = Flow {
            steps: Vec::new(),
            pads: Vec::new(),
        };
        let mut streams = Streams { next: 100 };
        for _ in 0..self.random.between(1, 3) {
            self.names += 1;
            let (step, layers) = super::steps::step(self.names, &mut |features| {
                let mut layer = self.layer(
                    "head",
                    networks,
                    streams.take(),
                    Direction::DeviceToHost,
                    true,
                );
                layer.shape.features = features;
                layer.hw_shape.features = features;
                layer.quantization.zero_points.clear();
                layer.quantization.scales.clear();
                (layer, self.random.next())
            });
            for layer in layers {
                let pad = u32::try_from(flow.pads.len()).unwrap();
                flow.pads.push((layer.name.clone(), pad));
                let mut edge = edge(
                    Direction::DeviceToHost,
                    Connection::Boundary,
                    Body::Plain(layer),
                );
                edge.pad = Some(pad);
                core.contexts.last_mut().unwrap().layers.push(edge);
            }
            flow.steps.push(step);
        }
        flow
    }
}

fn set_network(part: &mut MuxPart, network: u8) {
    match part {
        MuxPart::Plain(layer) => layer.network_index = network,
        MuxPart::Mux(mux) => {
            mux.layer.network_index = network;
            mux.parts
                .iter_mut()
                .for_each(|part| set_network(part, network));
        }
    }
}

fn edge(direction: Direction, connection: Connection, body: Body) -> EdgeLayer {
    EdgeLayer {
        direction,
        connection,
        pad: None,
        body,
    }
}
