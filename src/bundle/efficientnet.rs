//! The backbones as tables: what weights alone do not tell (specification 2.2 to 2.4).

use super::Backbone;

/// Epsilon of every batch normalisation in a backbone.
pub const NORM_EPSILON: f32 = 1e-3;

/// Blocks of one kind: kernel, stride of the first, expansion, output channels, number.
type Stage = (usize, usize, usize, usize, usize);

/// Stages after whose last block the stride changes: their outputs are the taps.
const TAPPED_STAGES: [usize; 4] = [0, 1, 2, 4];

const B4: [Stage; 7] = [
    (3, 1, 1, 24, 2),
    (3, 2, 6, 32, 4),
    (5, 2, 6, 56, 4),
    (3, 2, 6, 112, 6),
    (5, 1, 6, 160, 6),
    (5, 2, 6, 272, 8),
    (3, 1, 6, 448, 2),
];
const LITE0: [Stage; 7] = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
];
const LITE1: [Stage; 7] = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 3),
    (5, 2, 6, 40, 3),
    (3, 2, 6, 80, 4),
    (5, 1, 6, 112, 4),
    (5, 2, 6, 192, 5),
    (3, 1, 6, 320, 1),
];
const LITE2: [Stage; 7] = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 3),
    (5, 2, 6, 48, 3),
    (3, 2, 6, 88, 4),
    (5, 1, 6, 120, 4),
    (5, 2, 6, 208, 5),
    (3, 1, 6, 352, 1),
];

/// The function after a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Values limited to 0..6.
    Relu6,
    /// x·sigmoid(x).
    Swish,
}

/// One block: expand, depthwise, squeeze-excite, project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Side of the depthwise kernel.
    pub kernel: usize,
    /// Stride of the depthwise convolution.
    pub stride: usize,
    /// Input channels.
    pub inputs: usize,
    /// Channels of the depthwise convolution; equal to `inputs` where nothing is expanded.
    pub middle: usize,
    /// Output channels.
    pub outputs: usize,
    /// Channels of the squeeze, in a backbone that has one.
    pub squeezed: Option<usize>,
    /// Zeros before and after each axis of the depthwise convolution.
    pub padding: [usize; 2],
}

impl Block {
    /// Whether there is an expansion.
    pub const fn expands(&self) -> bool {
        self.middle != self.inputs
    }

    /// Whether the input is added to the output.
    pub const fn is_residual(&self) -> bool {
        self.stride == 1 && self.inputs == self.outputs
    }
}

/// A whole backbone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EfficientNet {
    /// After every convolution but the projections.
    pub activation: Activation,
    /// Channels of the stem.
    pub stem_channels: usize,
    /// Zeros before and after each axis of the stem's convolution.
    pub stem_padding: [usize; 2],
    /// All blocks; those after the last tap are never computed.
    pub blocks: Vec<Block>,
    /// Indices of the blocks whose outputs are the taps at strides 2, 4, 8, 16.
    pub taps: [usize; 4],
    /// Channels of the unused head.
    pub head_channels: usize,
}

impl EfficientNet {
    /// The table of `backbone`.
    pub fn new(backbone: Backbone) -> Self {
        let (stages, stem_channels, head_channels, native_side) = match backbone {
            Backbone::B4 => (B4, 48, 1792, 380),
            Backbone::Lite0 => (LITE0, 32, 1280, 224),
            Backbone::Lite1 => (LITE1, 32, 1280, 240),
            Backbone::Lite2 => (LITE2, 32, 1280, 260),
        };
        let is_b4 = backbone == Backbone::B4;
        let mut side = native_side;
        let mut inputs = stem_channels;
        let stem_padding = static_padding(&mut side, 3, 2);
        let mut blocks = Vec::new();
        let mut taps = [0; 4];
        for (index, (kernel, first_stride, expansion, outputs, count)) in
            stages.into_iter().enumerate()
        {
            for number in 0..count {
                let stride = if number == 0 { first_stride } else { 1 };
                let squeezed = is_b4.then_some((inputs / 4).max(1));
                let padding = static_padding(&mut side, kernel, stride);
                let middle = inputs * expansion;
                blocks.push(Block { kernel, stride, inputs, middle, outputs, squeezed, padding });
                inputs = outputs;
            }
            if let Some(tap) = TAPPED_STAGES.iter().position(|stage| *stage == index) {
                taps[tap] = blocks.len() - 1;
            }
        }
        let activation = if is_b4 { Activation::Swish } else { Activation::Relu6 };
        Self { activation, stem_channels, stem_padding, blocks, taps, head_channels }
    }

    /// The blocks up to the last tap.
    pub fn used_blocks(&self) -> &[Block] {
        &self.blocks[..=self.taps[3]]
    }
}

/// Zero padding before and after an axis, fixed by the chain of native sides and not by the actual
/// input (2.2); `side` becomes the layer's output side.
fn static_padding(side: &mut usize, kernel: usize, stride: usize) -> [usize; 2] {
    let native = *side;
    *side = native.div_ceil(stride);
    let total = ((*side - 1) * stride + kernel).saturating_sub(native);
    [total / 2, total - total / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_of_the_specifications_table() {
        let at_stride_2 = |backbone| {
            let net = EfficientNet::new(backbone);
            let strided = net.blocks.iter().filter(|block| block.stride == 2);
            let mut all = vec![net.stem_padding];
            all.extend(strided.map(|block| block.padding));
            all
        };
        let expected = [
            (Backbone::B4, [[0, 1], [0, 1], [2, 2], [0, 1], [1, 2]]),
            (Backbone::Lite0, [[0, 1], [0, 1], [1, 2], [0, 1], [1, 2]]),
            (Backbone::Lite1, [[0, 1], [0, 1], [1, 2], [0, 1], [2, 2]]),
            (Backbone::Lite2, [[0, 1], [0, 1], [2, 2], [1, 1], [2, 2]]),
        ];
        for (backbone, padding) in expected {
            assert_eq!(at_stride_2(backbone), padding, "{backbone:?}");
        }
        let b4 = EfficientNet::new(Backbone::B4);
        let unstrided = b4.blocks.iter().filter(|block| block.stride == 1);
        assert!(unstrided.clone().all(|block| block.padding == [block.kernel / 2; 2]));
    }

    #[test]
    fn taps_lie_where_the_specification_says() {
        let expected = [
            (Backbone::B4, [1, 5, 9, 21], 32),
            (Backbone::Lite0, [0, 2, 4, 10], 16),
            (Backbone::Lite1, [0, 3, 6, 14], 21),
            (Backbone::Lite2, [0, 3, 6, 14], 21),
        ];
        for (backbone, taps, blocks) in expected {
            let net = EfficientNet::new(backbone);
            assert_eq!((net.taps, net.blocks.len()), (taps, blocks), "{backbone:?}");
            let channels = taps.map(|tap| net.blocks[tap].outputs);
            assert_eq!(channels, backbone.tap_channels(), "{backbone:?}");
        }
        let squeezed: Vec<_> = EfficientNet::new(Backbone::B4).used_blocks()[..4]
            .iter()
            .map(|block| block.squeezed)
            .collect();
        assert_eq!(squeezed, [Some(12), Some(6), Some(6), Some(8)]);
    }
}
