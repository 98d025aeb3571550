//! The vocabulary of the way: what every room may say about a part. Knows no other room.

mod colour;
mod command;
mod decision;
mod frame;
mod map;
mod result;
mod sequence;
mod stages;
mod tensor;
mod time;

pub use colour::{ColourConversion, ColourMatrix};
pub use command::Command;
pub use decision::{Decision, Reason};
pub use frame::{Frame, PixelBuffer, PixelFormat};
pub use map::{AnomalyMap, Region, RegionOfInterest};
pub use result::{PartAnnouncement, PartResult, ResultFlags, Verdict};
pub use sequence::SequenceNumber;
pub use stages::StageTimes;
pub use tensor::{NamedTensors, Tensor, TensorShapeError};
pub use time::{Duration, LineTime};
