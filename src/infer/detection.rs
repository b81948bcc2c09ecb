//! What a detection does otherwise than its file says: thresholds, and how many boxes it gives.
//!
//! Source: vendor hailort v5.2.0, `libhailort/src/net_flow/pipeline/infer_model.cpp` (which of them an output takes).

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use crate::hef::{HefError, Order, VirtualStream};

/// A score, or how far boxes overlap: 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Threshold(f32);

/// A number that is no threshold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no number from 0 to 1")]
pub struct NoThreshold(String);

impl Threshold {
    /// `value`, if it is from 0 to 1.
    ///
    /// # Errors
    /// It is not.
    pub fn new(value: f32) -> Result<Self, NoThreshold> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(NoThreshold(value.to_string()))
        }
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> f32 {
        self.0
    }
}

impl FromStr for Threshold {
    type Err = NoThreshold;

    fn from_str(text: &str) -> Result<Self, NoThreshold> {
        let number = text.parse().ok();
        number
            .and_then(|number| Self::new(number).ok())
            .ok_or_else(|| NoThreshold(text.to_owned()))
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a detection does otherwise; what is `None` is as the file has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DetectionOptions {
    /// Boxes with a lower score are dropped.
    pub score_threshold: Option<Threshold>,
    /// Boxes that overlap a better one by more are dropped.
    pub iou_threshold: Option<Threshold>,
    /// Most boxes of a class; not in order NMS BY SCORE. It decides the size of frames in order NMS BY CLASS.
    pub max_per_class: Option<NonZeroU32>,
    /// Most boxes in all classes; only in orders NMS BY SCORE and NMS WITH BYTE MASK, whose frames it sizes.
    pub max_total: Option<NonZeroU32>,
    /// Bytes of all masks; only with masks.
    pub mask_bytes: Option<NonZeroU32>,
}

impl DetectionOptions {
    /// The stream with these settings, in `order`.
    ///
    /// # Errors
    /// The chip's server makes no detections of it, or does not take one of the settings in this order; the frame would
    /// be too long.
    pub fn applied(&self, stream: &VirtualStream, order: Order) -> Result<VirtualStream, HefError> {
        let unusable = |what, expected: &str, found: String| HefError::Unusable {
            place: format!("virtual stream `{}`", stream.name),
            what,
            expected: expected.to_owned(),
            found,
        };
        let (Some(mut nms), Some(_)) = (stream.nms, stream.post_processing) else {
            let found = match stream.nms {
                Some(_) => "boxes that the neural core makes",
                None => "no boxes",
            };
            let expected = "boxes that are made by post-processing";
            return Err(unusable("detection", expected, found.to_owned()));
        };
        let masked = order == Order::NmsWithByteMask;
        let rules = [
            (
                self.max_per_class,
                order != Order::NmsByScore,
                "most boxes of a class",
                "order NMS BY CLASS or WITH BYTE MASK",
            ),
            (
                self.max_total,
                order != Order::NmsByClass,
                "most boxes in all classes",
                "order NMS BY SCORE or WITH BYTE MASK",
            ),
            (
                self.mask_bytes,
                masked,
                "bytes of masks",
                "order NMS WITH BYTE MASK",
            ),
        ];
        for (asked, possible, what, expected) in rules {
            match asked.map(NonZeroU32::get) {
                Some(_) if !possible => return Err(unusable(what, expected, order.to_string())),
                // The number that says that nothing is asked for.
                Some(u32::MAX) => {
                    return Err(unusable(what, "less than 4294967295", u32::MAX.to_string()));
                }
                _ => {}
            }
        }
        let set = |asked: Option<NonZeroU32>, place: &mut u32| {
            if let Some(asked) = asked {
                *place = asked.get();
            }
        };
        set(self.max_per_class, &mut nms.max_per_class);
        set(self.max_total, &mut nms.max_total);
        set(self.mask_bytes, &mut nms.mask_bytes);
        let mut changed = VirtualStream {
            nms: Some(nms),
            ..stream.clone()
        };
        changed.frame_bytes = changed.frame_bytes_as(stream.data_type, order)?;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hef::{DataType, Direction, LayerQuantization, NmsShape, Quantization, Shape};

    fn detected(order: Order, by_chip: bool) -> VirtualStream {
        VirtualStream {
            name: "boxes".to_owned(),
            direction: Direction::DeviceToHost,
            network: "n/n".to_owned(),
            data_type: DataType::Float32,
            order,
            transposed: false,
            shape: Shape::default(),
            quantization: Quantization::default(),
            by_feature: LayerQuantization::default(),
            nms: Some(NmsShape {
                classes: 80,
                max_per_class: 100,
                max_total: 8000,
                mask_bytes: 4096,
            }),
            frame_bytes: 160_320,
            streams: Vec::new(),
            layers: Vec::new(),
            post_processing: (!by_chip).then_some(0),
        }
    }

    #[test]
    fn thresholds_are_parts_of_one() {
        assert_eq!("0.25".parse::<Threshold>().unwrap().value(), 0.25);
        assert_eq!("1".parse::<Threshold>().unwrap().to_string(), "1");
        for wrong in ["-0.1", "1.01", "NaN", "inf", "half", ""] {
            let error = wrong.parse::<Threshold>().unwrap_err();
            assert!(error.to_string().starts_with(wrong), "{error}");
        }
        assert!(Threshold::new(f32::NAN).is_err());
    }

    #[test]
    fn the_most_boxes_size_the_frame() {
        let options = DetectionOptions {
            max_per_class: NonZeroU32::new(10),
            ..DetectionOptions::default()
        };
        let by_class = detected(Order::NmsByClass, false);
        let changed = options.applied(&by_class, Order::NmsByClass).unwrap();
        assert_eq!(changed.frame_bytes, 80 * (1 + 5 * 10) * 4);
        assert_eq!(changed.nms.unwrap().max_total, 8000);
        let options = DetectionOptions {
            max_total: NonZeroU32::new(7),
            mask_bytes: NonZeroU32::new(1000),
            ..DetectionOptions::default()
        };
        let masked = detected(Order::NmsWithByteMask, false);
        let changed = options.applied(&masked, masked.order).unwrap();
        assert_eq!(changed.frame_bytes, 2 + 7 * 46 + 1000);
    }

    #[test]
    fn what_an_output_does_not_take_is_refused() {
        let per_class = DetectionOptions {
            max_per_class: NonZeroU32::new(10),
            ..DetectionOptions::default()
        };
        let total = DetectionOptions {
            max_total: NonZeroU32::new(10),
            ..DetectionOptions::default()
        };
        let masks = DetectionOptions {
            mask_bytes: NonZeroU32::new(10),
            ..DetectionOptions::default()
        };
        let endless = DetectionOptions {
            max_per_class: Some(NonZeroU32::MAX),
            ..DetectionOptions::default()
        };
        let cases = [
            (&per_class, Order::NmsByScore, "most boxes of a class"),
            (&total, Order::NmsByClass, "most boxes in all classes"),
            (&masks, Order::NmsByClass, "bytes of masks"),
            (&endless, Order::NmsByClass, "less than"),
        ];
        for (options, order, told) in cases {
            let error = options.applied(&detected(order, false), order).unwrap_err();
            assert!(error.to_string().contains(told), "{error}");
        }
        let by_chip = detected(Order::NmsByClass, true);
        let error = per_class.applied(&by_chip, by_chip.order).unwrap_err();
        assert!(
            error.to_string().contains("the neural core makes"),
            "{error}"
        );
        let tensor = VirtualStream {
            nms: None,
            ..detected(Order::Nhwc, false)
        };
        assert!(per_class.applied(&tensor, tensor.order).is_err());
    }
}
