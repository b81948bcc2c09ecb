//! Random post-processing steps, with the result that the format promises for each.

use hailo_vfio::hef::{
    Anchors, BoxAndClass, DataType, Decoder, Detection, ImageSize, Layer, LayerQuantization,
    NmsShape, Order, PostProcess, PostProcessKind, Quantization, Shape,
};

use super::random::Random;

/// Makes step number `number` and the layers it reads. `make` gives a layer with this many features, and a seed.
pub(crate) fn step(
    number: u32,
    make: &mut dyn FnMut(u32) -> (Layer, u64),
) -> (PostProcess, Vec<Layer>) {
    let (first, seed) = make(12);
    let random = &mut Random::new(seed);
    let (name, output) = (format!("op{number}"), format!("net/processed{number}"));
    let mut step = PostProcess {
        name,
        inputs: Vec::new(),
        output,
        data_type: DataType::Float32,
        order: Order::NmsByClass,
        shape: Shape::default(),
        nms: None,
        quantization: LayerQuantization {
            layer: Quantization {
                scale: 1.0,
                ..Quantization::default()
            },
            ..LayerQuantization::default()
        },
        kind: PostProcessKind::Argmax,
    };
    let layers = if random.chance(30) {
        logits(random, &mut step, &first);
        vec![first]
    } else {
        detection(random, &mut step, make)
    };
    step.inputs = layers.iter().map(|layer| layer.name.clone()).collect();
    (step, layers)
}

fn logits(random: &mut Random, step: &mut PostProcess, layer: &Layer) {
    step.quantization = layer.quantization.clone();
    if random.chance(50) {
        step.kind = PostProcessKind::Argmax;
        step.shape = Shape {
            features: 1,
            ..layer.shape
        };
        step.data_type = layer.data_type;
        step.order = if layer.order == Order::Nc {
            Order::Nc
        } else {
            Order::Nhw
        };
    } else {
        step.kind = PostProcessKind::Softmax;
        step.shape = layer.shape;
        step.data_type = if random.chance(50) {
            DataType::Float32
        } else {
            DataType::Uint16
        };
        // A pad can name orders up to 16 only; others come by default.
        step.order = Order::Nchw;
    }
}

fn detection(
    random: &mut Random,
    step: &mut PostProcess,
    make: &mut dyn FnMut(u32) -> (Layer, u64),
) -> Vec<Layer> {
    let mut heads = |features: &[u32]| -> Vec<Layer> {
        let mut out = vec![make(features[0]).0];
        for &features in &features[1..] {
            let mut layer = make(features).0;
            let first = &out[0];
            (layer.data_type, layer.order, layer.transposed) =
                (first.data_type, first.order, first.transposed);
            layer.shape = Shape {
                features,
                ..first.shape
            };
            layer.hw_shape = Shape {
                features,
                ..first.hw_shape
            };
            out.push(layer);
        }
        out
    };
    let pair = |l: &[Layer]| BoxAndClass {
        boxes: l[0].name.clone(),
        classes: l[1].name.clone(),
        objectness: None,
        stride: None,
        anchors: Vec::new(),
    };
    let sizes = |random: &mut Random| {
        (0..3)
            .map(|_| (random.u32(1, 99), random.u32(1, 99)))
            .collect()
    };
    let mut with_objects = Vec::new();
    let (decoder, layers) = match random.between(0, 5) {
        0 => {
            let layers = heads(&[255]);
            let outputs = vec![Anchors {
                layer: layers[0].name.clone(),
                sizes: sizes(random),
            }];
            (Decoder::Yolov5 { outputs }, layers)
        }
        1 => {
            let layers = heads(&[117, 32]);
            let outputs = vec![Anchors {
                layer: layers[0].name.clone(),
                sizes: sizes(random),
            }];
            let prototypes = layers[1].name.clone();
            (
                Decoder::Yolov5Seg {
                    outputs,
                    prototypes,
                    mask_threshold: 0.5,
                },
                layers,
            )
        }
        2 => {
            let layers = heads(&[4, 80, 1]);
            with_objects.push(BoxAndClass {
                objectness: Some(layers[2].name.clone()),
                ..pair(&layers)
            });
            (
                Decoder::Yolox {
                    outputs: with_objects,
                },
                layers,
            )
        }
        3 => {
            let layers = heads(&[64, 80]);
            (
                Decoder::Yolov8 {
                    outputs: vec![BoxAndClass {
                        stride: Some(random.u32(1, 64)),
                        ..pair(&layers)
                    }],
                },
                layers,
            )
        }
        4 => {
            let layers = heads(&[24, 546]);
            let anchors = vec![(0.5, 0.25), (1.5, 2.0)];
            let outputs = vec![BoxAndClass {
                anchors,
                ..pair(&layers)
            }];
            (
                Decoder::Ssd {
                    outputs,
                    centers_scale: 10,
                    sizes_scale: 5,
                    positions: [1, 0, 3, 2],
                },
                layers,
            )
        }
        _ => (Decoder::Iou, heads(&[5])),
    };
    let can_decode_only = matches!(decoder, Decoder::Yolov5 { .. } | Decoder::Yolov8 { .. });
    let detection = Detection {
        score_threshold: 0.25,
        iou_threshold: 0.625,
        max_per_class: random.u32(1, 100),
        classes: random.u32(2, 90),
        background: random.chance(30).then_some(1),
        decode_only: can_decode_only && random.chance(30),
        image: (decoder != Decoder::Iou).then_some(ImageSize {
            height: 320.0,
            width: 640.0,
        }),
        decoder,
    };
    if detection.decode_only {
        let cells = layers[0].shape.height * layers[0].shape.width;
        step.order = Order::Nhwc;
        step.shape = match detection.decoder {
            Decoder::Yolov5 { .. } => Shape::new(1, 3 * cells, 5 + detection.classes),
            _ => Shape::new(1, cells, 4 + detection.classes),
        };
    } else {
        let masks = matches!(detection.decoder, Decoder::Yolov5Seg { .. });
        if masks {
            step.order = Order::NmsWithByteMask;
            step.data_type = DataType::Uint8;
        }
        step.nms = Some(NmsShape {
            classes: detection.classes - u32::from(detection.background.is_some()),
            max_per_class: detection.max_per_class,
            max_total: detection.max_per_class * detection.classes,
            mask_bytes: if masks { 320 * 640 * 4 } else { 0 },
        });
    }
    step.kind = PostProcessKind::Nms(Box::new(detection));
    layers
}
