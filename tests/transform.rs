//! Frames between user and chip: every pair of orders against a second description of where elements lie, element by
//! element, and what the arithmetic gives at its edges.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use hailo_vfio::hef::{DataType, LayerQuantization, Order, Quantization, Shape};
use hailo_vfio::transform::{Frame, Transform, TransformError};
use proptest::prelude::*;

const USER: [Order; 8] = [
    Order::Nhwc,
    Order::Nhcw,
    Order::Nchw,
    Order::Fcr,
    Order::F8cr,
    Order::Nhw,
    Order::BayerRgb,
    Order::Rgb4,
];

const DEVICE: [Order; 7] = [
    Order::Nhwc,
    Order::Nhcw,
    Order::Fcr,
    Order::F8cr,
    Order::Nhw,
    Order::BayerRgb,
    Order::Rgb888,
];

fn frame(data_type: DataType, order: Order, shape: (u32, u32, u32)) -> Frame {
    Frame {
        data_type,
        order,
        shape: Shape::new(shape.0, shape.1, shape.2),
    }
}

/// Index of an element on the user's side, by section 5.5 of the format's specification.
fn user_index(order: Order, shape: Shape, at: (u32, u32, u32)) -> u32 {
    let (row, pixel, feature) = at;
    match order {
        Order::Nhcw => (row * shape.features + feature) * shape.width + pixel,
        Order::Nchw => (feature * shape.height + row) * shape.width + pixel,
        Order::Rgb4 => {
            row * (shape.width * shape.features).next_multiple_of(4)
                + pixel * shape.features
                + feature
        }
        _ => (row * shape.width + pixel) * shape.features + feature,
    }
}

/// Index of an element on the chip's side.
fn device_index(order: Order, shape: Shape, at: (u32, u32, u32)) -> u32 {
    let (row, pixel, feature) = at;
    let before = row * shape.width * shape.features;
    match order {
        Order::Nhcw => before + feature * shape.width + pixel,
        Order::F8cr => before + feature / 8 * 8 * shape.width + pixel * 8 + feature % 8,
        // Blue first, then a byte that is 0.
        Order::Rgb888 => before + pixel * 4 + 2 - feature,
        _ => before + pixel * shape.features + feature,
    }
}

fn elements(shape: Shape) -> impl Iterator<Item = (u32, u32, u32)> {
    (0..shape.height).flat_map(move |h| {
        (0..shape.width).flat_map(move |w| (0..shape.features).map(move |f| (h, w, f)))
    })
}

fn index(index: u32) -> usize {
    usize::try_from(index).unwrap()
}

#[derive(Debug, Clone)]
struct Case {
    user: Frame,
    device: Frame,
    transposed: bool,
    fill: u8,
}

fn cases() -> impl Strategy<Value = Case> {
    // Three features, as images have, go ways of their own.
    let sizes = (1..9_u32, 1..20_u32, prop_oneof![Just(3), 1..20_u32]);
    let pads = (0..3_u32, 0..9_u32, 0..9_u32);
    let wide = prop_oneof![Just(DataType::Uint8), Just(DataType::Uint16)];
    (
        (0..USER.len(), 0..DEVICE.len()),
        sizes,
        pads,
        wide,
        any::<bool>(),
        any::<u8>(),
    )
        .prop_map(
            |((user, device), (height, width, features), pads, data_type, transposed, fill)| {
                let (user, device) = (USER[user], DEVICE[device]);
                let features = if device == Order::Rgb888 { 3 } else { features };
                let hw_features = match device {
                    Order::Rgb888 => 4,
                    Order::F8cr => features.next_multiple_of(8),
                    _ => features + pads.2,
                };
                let hw = (height + pads.0, width + pads.1, hw_features);
                let shape = if transposed {
                    (width, height, features)
                } else {
                    (height, width, features)
                };
                Case {
                    user: frame(data_type, user, shape),
                    device: frame(data_type, device, hw),
                    transposed,
                    fill,
                }
            },
        )
}

impl Case {
    /// Moves an element's bytes between the places where both descriptions find it.
    fn each(&self, mut step: impl FnMut(std::ops::Range<usize>, std::ops::Range<usize>)) {
        let bytes = index(self.user.data_type.bytes());
        for at in elements(self.user.shape) {
            let on_chip = if self.transposed {
                (at.1, at.0, at.2)
            } else {
                at
            };
            let user = index(user_index(self.user.order, self.user.shape, at)) * bytes;
            let chip = index(device_index(self.device.order, self.device.shape, on_chip)) * bytes;
            step(user..user + bytes, chip..chip + bytes);
        }
    }
}

fn noise(len: usize, fill: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(167) >> 3).to_le_bytes()[0] ^ fill)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn inputs_lie_where_the_order_says_and_padding_is_zero(case in cases()) {
        let by = LayerQuantization::default();
        let transform = Transform::to_device(case.user, case.device, case.transposed, &by).unwrap();
        prop_assert_eq!(transform.to_bytes() % 8, 0);
        let from = noise(transform.from_bytes(), case.fill);
        let mut expected = vec![0; transform.to_bytes()];
        case.each(|user, chip| expected[chip].copy_from_slice(&from[user]));
        let mut to = vec![0xee; transform.to_bytes()];
        transform.apply(&from, &mut to).unwrap();
        prop_assert_eq!(to, expected);
    }

    #[test]
    fn outputs_lie_where_the_order_says(case in cases()) {
        let by = LayerQuantization::default();
        let transform = Transform::from_device(case.device, case.user, case.transposed, &by).unwrap();
        let from = noise(transform.from_bytes(), case.fill);
        let mut expected = vec![0xee; transform.to_bytes()];
        case.each(|user, chip| expected[user].copy_from_slice(&from[chip]));
        let mut to = vec![0xee; transform.to_bytes()];
        transform.apply(&from, &mut to).unwrap();
        prop_assert_eq!(to, expected);
    }

    #[test]
    fn outputs_become_real_values_feature_by_feature(case in cases(), by_feature: bool) {
        let real = Frame { data_type: DataType::Float32, ..case.user };
        let features = case.user.shape.features;
        let by = LayerQuantization {
            layer: Quantization { zero_point: 3.0, scale: 0.5, ..Quantization::default() },
            zero_points: (0..features).map(f64::from).collect(),
            scales: (1..=features).map(|f| f64::from(f) / 4.0).collect(),
            by_feature,
        };
        let transform = Transform::from_device(case.device, real, case.transposed, &by).unwrap();
        let from = noise(transform.from_bytes(), case.fill);
        let mut to = vec![0; transform.to_bytes()];
        transform.apply(&from, &mut to).unwrap();
        let bytes = index(case.user.data_type.bytes());
        let mut at = elements(case.user.shape);
        case.each(|user, chip| {
            let (_, _, feature) = at.next().unwrap();
            let code = match from[chip] {
                [code] => f32::from(code),
                ref code => f32::from(u16::from_le_bytes(code.try_into().unwrap())),
            };
            let feature = f32::from(u16::try_from(feature).unwrap());
            let expected = match (real.order, by_feature) {
                (Order::Nhw, _) => code,
                (_, true) => (code - feature) * ((feature + 1.0) / 4.0),
                (_, false) => (code - 3.0) * 0.5,
            };
            let found = user.start / bytes * 4;
            let found = f32::from_le_bytes(to[found..found + 4].try_into().unwrap());
            assert_eq!(found, expected);
        });
    }
}

fn quantized(values: &[f32], data_type: DataType, by: Quantization) -> Vec<u8> {
    let count = u32::try_from(values.len()).unwrap();
    let by = LayerQuantization {
        layer: by,
        ..LayerQuantization::default()
    };
    let shape = (1, 1, count);
    let transform = Transform::to_device(
        frame(DataType::Float32, Order::Nc, shape),
        frame(data_type, Order::Nc, shape),
        false,
        &by,
    )
    .unwrap();
    let from: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let mut to = vec![0; transform.to_bytes()];
    transform.apply(&from, &mut to).unwrap();
    to.truncate(values.len() * index(data_type.bytes()));
    to
}

const IDENTITY: Quantization = Quantization {
    zero_point: 0.0,
    scale: 1.0,
    limit_min: 0.0,
    limit_max: 255.0,
};

#[test]
fn codes_are_the_nearest_and_halves_go_to_the_even_one() {
    let values = [0.5, 1.5, 2.5, 254.5, 255.5, -0.5, 0.499_999_97, 127.5];
    assert_eq!(
        quantized(&values, DataType::Uint8, IDENTITY),
        [0, 2, 2, 254, 255, 0, 0, 128]
    );
    let scaled = Quantization {
        zero_point: 128.0,
        scale: 0.5,
        limit_min: -10.0,
        limit_max: 20.0,
    };
    let values = [0.0, 0.25, 0.75, -11.0, 21.0, 20.0, -10.0, 1e30];
    assert_eq!(
        quantized(&values, DataType::Uint8, scaled),
        [128, 128, 130, 108, 168, 168, 108, 168]
    );
}

/// -10 is code 108 here.
#[test]
fn what_is_not_a_number_becomes_the_lower_limit() {
    let scaled = Quantization {
        zero_point: 128.0,
        scale: 0.5,
        limit_min: -10.0,
        limit_max: 20.0,
    };
    assert_eq!(quantized(&[f32::NAN], DataType::Uint8, scaled), [108]);
}

#[test]
fn values_beyond_all_codes_become_the_nearest_code() {
    let values = [
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e9,
        -1e9,
        300.0,
        -0.0,
        70000.0,
    ];
    assert_eq!(
        quantized(&values, DataType::Uint8, IDENTITY),
        [255, 0, 0, 255, 0, 255, 0, 255]
    );
    let codes: Vec<u16> = quantized(&values, DataType::Uint16, IDENTITY)
        .chunks_exact(2)
        .map(|code| u16::from_le_bytes([code[0], code[1]]))
        .collect();
    assert_eq!(codes, [65535, 0, 0, 65535, 0, 300, 0, 65535]);
}

#[test]
fn planes_alternate_row_by_row_on_the_chip() {
    let by = LayerQuantization::default();
    // A 4x4 image in rows of 6: luma 0 to 15, chroma from 16 on.
    let from: Vec<u8> = (0..24).collect();
    let user = |order| frame(DataType::Uint8, order, (2, 4, 3));
    let device = |order| frame(DataType::Uint8, order, (2, 6, 3));
    let apply = |user_order, device_order| {
        let transform =
            Transform::to_device(user(user_order), device(device_order), false, &by).unwrap();
        let mut to = vec![0xee; transform.to_bytes()];
        transform.apply(&from, &mut to).unwrap();
        to
    };
    let semi = [
        [0, 1, 2, 3, 0, 0],
        [4, 5, 6, 7, 0, 0],
        [16, 17, 18, 19, 0, 0],
        [8, 9, 10, 11, 0, 0],
        [12, 13, 14, 15, 0, 0],
        [20, 21, 22, 23, 0, 0],
    ]
    .concat();
    assert_eq!(apply(Order::Nv12, Order::Yyuv)[..36], semi);
    assert_eq!(apply(Order::Nv21, Order::Yyvu)[..36], semi);
    let apart = [
        [0, 1, 2, 3, 0, 0],
        [4, 5, 6, 7, 0, 0],
        [16, 17, 0, 20, 21, 0],
        [8, 9, 10, 11, 0, 0],
        [12, 13, 14, 15, 0, 0],
        [18, 19, 0, 22, 23, 0],
    ]
    .concat();
    assert_eq!(apply(Order::I420, Order::Yyyyuv)[..36], apart);
    assert_eq!(apply(Order::I420, Order::Yyyyuv)[36..], [0; 4]);
}

#[test]
fn planes_of_real_values_are_quantized_on_their_way() {
    let by = LayerQuantization {
        layer: Quantization {
            zero_point: 1.0,
            scale: 0.5,
            limit_min: 0.0,
            limit_max: 100.0,
        },
        ..LayerQuantization::default()
    };
    let codes: Vec<u8> = (1..25).collect();
    let values: Vec<u8> = codes
        .iter()
        .flat_map(|code| (f32::from(code - 1) * 0.5).to_le_bytes())
        .collect();
    let orders = [
        (Order::Nv12, Order::Yyuv),
        (Order::Nv21, Order::Yyvu),
        (Order::I420, Order::Yyyyuv),
        // The chip's server has the planes set in rows.
        (Order::Nv12, Order::Nv12),
        (Order::I420, Order::I420),
        (Order::Yyuv, Order::Yyuv),
    ];
    for (order, device) in orders {
        let moved = |data_type, to_type, from: &[u8]| {
            let user = frame(data_type, order, (2, 4, 3));
            let device = frame(to_type, device, (2, 4, 3));
            let transform = Transform::to_device(user, device, false, &by).unwrap();
            let mut to = vec![0xee; transform.to_bytes()];
            transform.apply(from, &mut to).unwrap();
            to
        };
        let whole = moved(DataType::Uint8, DataType::Uint8, &codes);
        let found = moved(DataType::Float32, DataType::Uint8, &values);
        assert_eq!(found, whole, "{order} to {device}");
        let wide = moved(DataType::Uint8, DataType::Uint16, &codes);
        let wide: Vec<u8> = wide.chunks(2).map(|code| code[0]).collect();
        assert_eq!(wide, whole, "{order} to {device}");
    }
}

#[test]
fn planes_as_they_are_need_the_size_of_the_other_side() {
    let by = LayerQuantization::default();
    let user = frame(DataType::Uint8, Order::Yyuv, (2, 4, 3));
    let wide = frame(DataType::Uint8, Order::Yyuv, (2, 6, 3));
    assert!(
        Transform::to_device(user, user, false, &by)
            .unwrap()
            .is_same()
    );
    let no_way = |found| matches!(found, Err(TransformError::NoWay { .. }));
    assert!(no_way(Transform::to_device(user, wide, false, &by)));
    assert!(no_way(Transform::from_device(user, user, false, &by)));
}

#[test]
fn equal_frames_need_no_move() {
    let by = LayerQuantization::default();
    let same = frame(DataType::Uint8, Order::Nhwc, (4, 8, 3));
    assert!(
        Transform::to_device(same, same, false, &by)
            .unwrap()
            .is_same()
    );
    // 12 bytes travel as 16.
    let odd = frame(DataType::Uint8, Order::Nhwc, (2, 2, 3));
    assert!(
        !Transform::to_device(odd, odd, false, &by)
            .unwrap()
            .is_same()
    );
}

#[test]
fn what_makes_no_transform_is_named() {
    let by = LayerQuantization::default();
    let bytes = |order, shape| frame(DataType::Uint8, order, shape);
    let error = |from, to| Transform::to_device(from, to, false, &by).unwrap_err();
    let small = error(bytes(Order::Nhwc, (4, 8, 3)), bytes(Order::Nhwc, (4, 7, 3)));
    assert_eq!(
        small.to_string(),
        "NHWC 4x7x3 of UINT8 on the chip can't hold NHWC 4x8x3 of UINT8"
    );
    let way = error(bytes(Order::Nv12, (4, 8, 3)), bytes(Order::Nhwc, (4, 8, 3)));
    assert_eq!(
        way.to_string(),
        "no way from NV12 4x8x3 of UINT8 to NHWC 4x8x3 of UINT8"
    );
    let narrow = error(
        frame(DataType::Uint16, Order::Nc, (1, 1, 8)),
        bytes(Order::Nc, (1, 1, 8)),
    );
    assert!(matches!(narrow, TransformError::NoWay { .. }));
    let unscaled = error(
        frame(DataType::Float32, Order::Nc, (1, 1, 8)),
        bytes(Order::Nc, (1, 1, 8)),
    );
    assert!(matches!(
        unscaled,
        TransformError::Quantization { scale: 0.0, .. }
    ));
}

#[test]
fn buffers_of_another_size_are_refused() {
    let by = LayerQuantization::default();
    let same = frame(DataType::Uint8, Order::Nhwc, (4, 8, 3));
    let transform = Transform::to_device(same, same, false, &by).unwrap();
    let error = transform.apply(&[0; 95], &mut [0; 96]).unwrap_err();
    assert_eq!(error.to_string(), "source buffer has 95 bytes, expected 96");
    assert!(transform.apply(&[0; 96], &mut [0; 97]).is_err());
}
