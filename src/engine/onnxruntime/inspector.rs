//! The inspector: a picture to maps and a score.

use super::binding::BoundSession;
use super::{EngineError, OnnxRuntime};
use crate::bundle::{InspectorInput, Manifest};
use crate::engine::{Engine, Inspection};
use crate::part::NamedTensors;
use std::path::Path;

/// Places of the outputs; the network's maps are absent without a network.
struct Outputs {
    score: usize,
    anomaly_map: usize,
    map_peaks: usize,
    reconstruction_map: Option<usize>,
    refined_map: Option<usize>,
}

/// `inspector.onnx` in ONNX Runtime.
pub struct Inspector {
    session: BoundSession,
    side: usize,
    image: usize,
    outputs: Outputs,
    product_inputs: Vec<InspectorInput>,
    has_product: bool,
    /// What stands for the maps of a network that is not there.
    zeros: Vec<f32>,
}

impl Inspector {
    /// Loads `graph`, checks it against `manifest`, allocates and binds everything. `threads`
    /// counts the calling one.
    pub fn open(
        runtime: &OnnxRuntime,
        graph: &Path,
        manifest: &Manifest,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let session = BoundSession::open(runtime, graph, threads)?;
        let wrong = |reason: String| EngineError::Graph {
            path: graph.display().to_string(),
            reason: format!("{reason}: it is not of this bundle"),
        };
        let side = manifest.side;
        let mut inputs = vec![("image", vec![1, 3, side, side])];
        inputs.extend(manifest.inputs.iter().map(|input| (&*input.name, input.shape.clone())));
        let map = vec![1, 1, side, side];
        let mut outputs =
            vec![("score", vec![1]), ("anomaly_map", map.clone()), ("map_peaks", vec![1, 3])];
        if manifest.has_network() {
            outputs.extend([("reconstruction_map", map.clone()), ("refined_map", map)]);
        }
        compare("input", session.inputs(), &inputs).map_err(wrong)?;
        compare("output", session.outputs(), &outputs).map_err(wrong)?;
        let place = |name: &str| {
            session.output_index(name).ok_or_else(|| wrong(format!("it has no output `{name}`")))
        };
        let outputs = Outputs {
            score: place("score")?,
            anomaly_map: place("anomaly_map")?,
            map_peaks: place("map_peaks")?,
            reconstruction_map: session.output_index("reconstruction_map"),
            refined_map: session.output_index("refined_map"),
        };
        let image = session.input_index("image");
        let image = image.ok_or_else(|| wrong("it has no input `image`".to_owned()))?;
        let product_inputs = manifest.inputs.clone();
        let zeros = if manifest.has_network() { Vec::new() } else { vec![0.0; side * side] };
        Ok(Self { session, side, image, outputs, product_inputs, has_product: false, zeros })
    }
}

/// Compares what the graph has with what the manifest says, by name, in any order.
fn compare<'a>(
    kind: &str,
    found: impl Iterator<Item = (&'a str, &'a [usize])>,
    expected: &[(&str, Vec<usize>)],
) -> Result<(), String> {
    let found: Vec<(&str, &[usize])> = found.collect();
    for (name, shape) in expected {
        match found.iter().find(|(own, _)| own == name) {
            None => return Err(format!("it has no {kind} `{name}`")),
            Some((_, own)) if own != shape => {
                return Err(format!("its {kind} `{name}` has shape {own:?}, not {shape:?}"));
            }
            Some(_) => {}
        }
    }
    let unknown = found.iter().find(|(own, _)| !expected.iter().any(|(name, _)| name == own));
    unknown.map_or(Ok(()), |(own, _)| Err(format!("it has an unknown {kind} `{own}`")))
}

impl Engine for Inspector {
    fn side(&self) -> usize {
        self.side
    }

    fn set_product(&mut self, tensors: &NamedTensors) -> Result<(), EngineError> {
        self.has_product = false;
        for InspectorInput { name, .. } in &self.product_inputs {
            let wrong = |reason| EngineError::ProductTensor { name: name.clone(), reason };
            let tensor = tensors.get(name).ok_or_else(|| wrong("is missing".to_owned()))?;
            self.session.set(name, tensor.shape(), tensor.values()).map_err(wrong)?;
        }
        self.has_product = true;
        Ok(())
    }

    fn input(&mut self) -> &mut [f32] {
        self.session.input(self.image)
    }

    fn run(&mut self) -> Result<Inspection<'_>, EngineError> {
        if !self.has_product {
            return Err(EngineError::Run("no product is set; choose one first".to_owned()));
        }
        // Comparisons inside the graph would swallow a NaN and answer "good".
        if !self.session.input(self.image).iter().all(|value| value.is_finite()) {
            return Err(EngineError::Run(
                "the picture holds a value that is not finite".to_owned(),
            ));
        }
        self.session.run()?;
        let output = |index: usize| self.session.output_at(index);
        let map = |index: Option<usize>| index.map_or(self.zeros.as_slice(), output);
        let [score] = *output(self.outputs.score) else {
            return Err(EngineError::Run("the score is not one number".to_owned()));
        };
        let [network, search, cell] = *output(self.outputs.map_peaks) else {
            return Err(EngineError::Run("the peaks are not three numbers".to_owned()));
        };
        Ok(Inspection {
            score,
            anomaly_map: output(self.outputs.anomaly_map),
            reconstruction_map: map(self.outputs.reconstruction_map),
            refined_map: map(self.outputs.refined_map),
            map_peaks: [network, search, cell],
        })
    }
}
